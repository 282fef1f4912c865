/** The sign-in page: show the password, send it once, count a wait down. */
import { fill, sendOnce, timeLeft } from "./browser.js";

const password = document.getElementById("password");
const show = document.getElementById("show-password");
const submit = document.getElementById("submit");
const showText = show.textContent;

function reveal(visible) {
	password.type = visible ? "text" : "password";
	show.setAttribute("aria-pressed", visible);
	show.textContent = visible ? show.dataset.hide : showText;
}

show.hidden = false;
show.addEventListener("click", () => {
	reveal(password.type === "password");
	password.focus();
});
submit.form.addEventListener("submit", () => reveal(false));
sendOnce(submit);

const until = performance.now() + 1e3 * (submit.dataset.wait ?? 0);
const note = document.getElementById("wait");
function wait() {
	const left = (until - performance.now()) / 1e3;
	submit.disabled = left > 0;
	if (note) note.textContent = left > 0 ? fill(note.dataset.text, { time: timeLeft(left) }) : note.dataset.ready;
	if (left > 0) setTimeout(wait, Math.min(1e3, left * 1e3));
}
if (submit.dataset.wait) wait();
