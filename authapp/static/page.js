/**
 * Watches the session in a page that uses authapp's layout. The options come from a meta element
 * that the server has put into the head. Nothing else in the page is read, because it may be
 * content that a user has written.
 */
import { watchSession } from "./session.js";

// Taken from the prototype, because an element named "querySelector" hides document.querySelector.
const find = Document.prototype.querySelector.bind(document);
const page = find("html > head > meta[name=authapp]");
// One for the page, even if it is imported from the addresses with a hash and without.
const one = Symbol.for("authapp");
export const session = (globalThis[one] ??= page && watchSession(JSON.parse(page.content)));
