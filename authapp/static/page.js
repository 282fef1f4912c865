/**
 * Starts session.js in a page. The server has written the options into a <meta> element in the
 * page's head. This script reads nothing else: a user may have written other parts of the page.
 */
import { watchSession } from "./session.js";

// Taken from the prototype, because an element named "querySelector" hides document.querySelector.
const find = Document.prototype.querySelector.bind(document);
const page = find("html > head > meta[name=authapp]");
// A page has one session object, even if it imports this module from two URLs (with and without the
// hash).
const one = Symbol.for("authapp");
export const session = (globalThis[one] ??= page && watchSession(JSON.parse(page.content)));
