/**
 * The session of a page that authapp's layout made. The server has put what there is to know
 * into the head of the page. What stands elsewhere in the page may be anybody's, and is not read.
 */
import { watchSession } from "./session.js";

// From the prototype: an element that is named "querySelector" must not take its place.
const find = Document.prototype.querySelector.bind(document);
const page = find("html > head > meta[name=authapp]");
export const session = page && watchSession(JSON.parse(page.content));
