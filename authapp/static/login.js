/** The script of the sign-in page: shows the password, prevents a second click, counts a wait down. */
import { fill, timeLeft } from "./browser.js";

const form = document.getElementById("sign-in");
const password = document.getElementById("password");
const show = document.getElementById("show-password");
const submit = document.getElementById("submit");
const label = submit.textContent;
const showText = show.textContent;

function reveal(visible) {
	password.type = visible ? "text" : "password";
	show.setAttribute("aria-pressed", visible);
	show.textContent = visible ? show.dataset.hide : showText;
}

function busy(yes) {
	submit.toggleAttribute("aria-busy", yes);
	submit.textContent = yes ? submit.dataset.busy : label;
}

show.hidden = false;
show.addEventListener("click", () => {
	reveal(password.type === "password");
	password.focus();
});
form.addEventListener("submit", (event) => {
	if (submit.hasAttribute("aria-busy")) return event.preventDefault();
	reveal(false); // so that the browser recognises the password
	busy(!event.submitter || event.submitter === submit);
});
addEventListener("pageshow", () => busy(false)); // after "back", or a sign-in that was stopped

const until = performance.now() + 1e3 * (submit.dataset.wait ?? 0);
const note = document.getElementById("wait");
function wait() {
	const left = (until - performance.now()) / 1e3;
	submit.disabled = left > 0;
	if (note) note.textContent = left > 0 ? fill(note.dataset.text, { time: timeLeft(left) }) : note.dataset.ready;
	if (left > 0) setTimeout(wait, Math.min(1e3, left * 1e3));
}
if (submit.dataset.wait) wait();
