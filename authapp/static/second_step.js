/** The script of the page that asks for a code: prevents a second click, because a code works once. */
import { sendOnce } from "./browser.js";

sendOnce(document.getElementById("send-code"));
