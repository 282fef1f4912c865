/** What session.js needs of the browser: the document, and the other tabs. No side effects. */

export const TEXTS = {
	ending: "Your session ends soon, ${time}.",
	fixed: "Your session ends ${time}. Finish what you are doing, then sign in again.",
	idle: "You will be signed out soon, because you have not used this site for a while.",
	stay: "Stay signed in",
	close: "Close",
	endedTitle: "Your session has ended",
	ended: "Sign in to continue.",
	who: "You were signed in as ${name}.",
	kept: "What you typed on this page is kept in this tab.",
	signIn: "Sign in",
	partly: "Some of what you typed could not be put back. Check the page before you go on.",
	unavailable: "The site is not responding right now. Nothing is lost, and this page keeps trying.",
	other: "Someone else has signed in. This page will reload.",
};

export const clock = () => Date.now() / 1000;
export const mono = () => performance.now() / 1000; // goes on when the machine's clock is set
export const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1e3));

/** Has the server sent this page just now? A page from a cache holds an old session and time. */
export function isFresh() {
	const [load] = performance.getEntriesByType("navigation");
	return !load || load.transferSize > load.encodedBodySize;
}

/** A member of the document. Elements with the name of a member hide it: <img name=hidden>. */
export const page = (name) => Reflect.get(Document.prototype, name, document);

/** "in 2 minutes", in the language of the page. */
export function timeLeft(seconds) {
	const [count, unit] = seconds > 90 ? [seconds / 60, "minute"] : [Math.ceil(seconds / 10) * 10, "second"];
	let format;
	try {
		format = new Intl.RelativeTimeFormat(page("documentElement").lang || undefined);
	} catch {
		format = new Intl.RelativeTimeFormat(); // lang is not a language
	}
	return format.format(Math.round(count), unit);
}

export const fill = (text, values) => text.replace(/\$\{(\w+)\}/g, (all, name) => values[name] ?? all);

export const emit = (name, detail) =>
	page("dispatchEvent").call(document, new CustomEvent("authapp:" + name, { detail, cancelable: true }));

export const show = (tag, properties, on = page("body")) =>
	on.appendChild(Object.assign(page("createElement").call(document, tag), properties));

/** The place for notes at the end of the page. Returns what shows a text, or none, and buttons. */
export function notes() {
	let note;
	return (text, actions = []) => {
		const status = note?.firstChild;
		if ((status?.textContent ?? "") === text) return;
		// The buttons stay if they can, because one of them may have the focus.
		if (text && note?.childElementCount === actions.length + 1) return (status.textContent = text);
		note?.remove();
		note = text ? show("div", { className: "authapp-notice", role: "status" }) : undefined;
		if (text) show("span", { textContent: text }, note);
		for (const [textContent, onclick] of actions)
			show("button", { type: "button", textContent, onclick }, note);
	};
}

/** Put the CSRF token into the forms that are sent to this site. */
export function fillForms(token) {
	for (const field of page("querySelectorAll").call(document, "input[name=csrf_token]")) {
		const { form, type } = field;
		const targets = form ? [Reflect.get(HTMLFormElement.prototype, "action", form)] : [];
		for (const button of form ? page("querySelectorAll").call(document, "[formaction]") : [])
			if (button.form === form) targets.push(button.formAction);
		const stays = targets.every((each) => new URL(each, location).origin === location.origin);
		if (type !== "file" && stays) field.value = token;
	}
}

/** Forget what was kept in this tab for the user. */
export function forget() {
	for (const name of ["User", "Draft", "Posted"]) delete sessionStorage["authapp" + name];
}

/** Do some work when no other tab does any. "work" gets whether it had to wait. */
export async function inTurn(name, work) {
	const began = mono();
	const run = () => work(mono() - began > 0.02);
	if (!navigator.locks) return run();
	const signal = AbortSignal.timeout?.(2e4);
	return navigator.locks.request(name, { signal }, run).catch(run);
}

/** A channel between tabs. "compose" makes the message, "hear" receives those of other tabs. */
export function channel(name, hear, compose) {
	if (globalThis.BroadcastChannel) {
		const tabs = new BroadcastChannel(name);
		tabs.onmessage = (event) => hear(event.data);
		return (...news) => tabs.postMessage(compose(...news));
	}
	addEventListener("storage", ({ key, newValue }) => {
		if (key === name && newValue) hear();
	});
	return () => {
		localStorage[name] = clock();
		delete localStorage[name];
	};
}

/** The full URL of an address, which must be on this site: it is fetched and linked to. */
export function ours(address) {
	const { protocol, origin, pathname, search } = new URL(address, location.origin);
	if (protocol !== location.protocol || origin !== location.origin)
		throw new TypeError(`watchSession: ${address} is not an address of this site`);
	return origin + pathname + search;
}

/** Is this the JSON of GET /session? Another server, or an older script, may have sent it. */
export function isSession(it) {
	const { user, validity: times, now } = it ?? {};
	if (user === null) return Number.isFinite(now);
	if (!/^(string|number)$/.test(typeof user?.id)) return false;
	return [now, times?.valid_until, times?.refresh_until].every(Number.isFinite);
}
