/** The script of the account page: the times count down, and the bar shows each renewal. */
import { session } from "./page.js";

const life = document.getElementById("life"); // only in development
const began = Number(life?.dataset.began);
let issued = Number(life?.dataset.issued);

const share = (part, whole) => `${Math.max(0, Math.min(100, (100 * part) / whole))}%`;

const language = document.documentElement.lang;
const inDays = new Intl.NumberFormat(language, { style: "unit", unit: "day", unitDisplay: "narrow" });

function set(part, attributes) {
	for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
}

function clock(seconds) {
	const [days, rest] = [Math.floor(seconds / 86400), Math.max(0, Math.floor(seconds)) % 86400];
	const time = new Date(rest * 1000).toISOString().slice(11, 19);
	return days > 0 ? `${inDays.format(days)} ${time}` : time;
}

/** Load the page again, and show its table of claims, which belongs to the new access token. */
async function readClaims() {
	const answer = await fetch(location.href, { headers: { "X-Authapp-Background": "1" } });
	const page = new DOMParser().parseFromString(await answer.text(), "text/html");
	const claims = page.getElementById("claims");
	if (claims) document.getElementById("claims")?.replaceWith(claims);
}

function draw() {
	const { validity } = session.session;
	if (!validity) return;
	const [now, end] = [session.now(), validity.refresh_until];
	if (life) drawLife(validity, now, end);
	const place = document.querySelector("#refresh-until time");
	place.dataset.seconds = end;
	place.dateTime = new Date(end * 1000).toISOString();
	for (const time of document.querySelectorAll("time")) {
		const moment = new Date(time.dateTime);
		time.textContent = moment.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
	}
}

function drawLife(validity, now, end) {
	const at = (seconds) => share(seconds - began, end - began);
	set(life.querySelector(".access"), {
		x: at(issued),
		width: share(Math.max(validity.valid_until - issued, (end - began) / 100), end - began),
	});
	set(life.querySelector(".renewed"), { width: at(issued) });
	set(life.querySelector(".now"), { x1: at(now), x2: at(now) });
	set(document.querySelector("#access rect"), {
		width: share(validity.valid_until - now, validity.valid_until - issued),
	});
	for (const mark of life.querySelectorAll(".mark")) {
		const place = at(Number(mark.dataset.at));
		set(mark, { x1: place, x2: place });
	}
	for (const [id, until] of [["valid-until", validity.valid_until], ["session-until", end]]) {
		const place = document.getElementById(id);
		const time = place.querySelector("time");
		time.dataset.seconds = until;
		time.dateTime = new Date(until * 1000).toISOString();
		place.querySelector(".left").textContent = clock(until - now);
	}
}

if (life) document.addEventListener("authapp:renewed", () => {
	const mark = document.createElementNS(life.namespaceURI, "line");
	mark.dataset.at = issued;
	set(mark, { class: "mark", y2: "100%" });
	life.append(mark);
	issued = session.now();
	draw();
	readClaims();
});
const form = document.getElementById("renew");
form?.addEventListener("submit", async (event) => {
	event.preventDefault();
	const said = form.querySelector("output");
	said.value = "";
	const before = session.session;
	await session.renew();
	if (session.session !== before) said.value = said.dataset.text;
});
setInterval(draw, 1000);
draw();
