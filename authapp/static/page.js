/**
 * Watches the session in a page that uses authapp's layout. The options come from a meta element
 * that the server has put into the head. Nothing else in the page is read, because it may be
 * content that a user has written.
 */
import { watchSession } from "./session.js";

// Taken from the prototype, because an element named "querySelector" hides document.querySelector.
const find = Document.prototype.querySelector.bind(document);
const page = find("html > head > meta[name=authapp]");
export const session = page && watchSession(JSON.parse(page.content));
