/** Functions that use the browser. Importing this module has no side effects. */

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
	other: "Someone else has signed in from another tab. This page will reload.",
};

export const clock = () => Date.now() / 1000;
export const mono = () => performance.now() / 1000; // goes on when the machine's clock is set
export const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1e3));

/** Return true if the server has just sent this page. A page from a cache has an old session. */
export function isFresh() {
	const [load] = performance.getEntriesByType("navigation");
	return !load || load.transferSize > load.encodedBodySize;
}

/** Return document[name], even if an element such as <img name=hidden> hides it. */
export const page = (name) => Reflect.get(Document.prototype, name, document);

/** Return a text such as "in 2 minutes", in the language of the page. */
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

/** Return a function that shows a note with buttons at the end of the page. "" removes the note. */
export function notes() {
	let note;
	return (text, actions = []) => {
		const status = note?.firstChild;
		if ((status?.textContent ?? "") === text) return;
		// Keep the buttons if their number has not changed, because one may have the focus.
		if (text && note?.childElementCount === actions.length + 1) return (status.textContent = text);
		note?.remove();
		note = text ? show("div", { className: "authapp-notice", role: "status" }) : undefined;
		if (text) show("span", { textContent: text }, note);
		for (const [textContent, onclick] of actions)
			show("button", { type: "button", textContent, onclick }, note);
	};
}

/** Return the origin of an address in the page, or undefined if it is not an address. */
function originOf(address) {
	try {
		return new URL(address, location).origin;
	} catch {}
}

/** Put the CSRF token into the forms that are sent to this site. */
export function fillForms(token) {
	for (const field of page("querySelectorAll").call(document, "input[name=csrf_token]")) {
		const { form, type } = field;
		const targets = form ? [Reflect.get(HTMLFormElement.prototype, "action", form)] : [];
		for (const button of form ? page("querySelectorAll").call(document, "[formaction]") : [])
			if (button.form === form) targets.push(button.formAction);
		const stays = targets.every((each) => originOf(each) === location.origin);
		if (type !== "file" && stays) field.value = token;
	}
}

/** Let a button send its form only once in 20 s. Meanwhile it shows its data-busy. */
export function sendOnce(button) {
	const label = button.textContent;
	const busy = (yes) => {
		button.toggleAttribute("aria-busy", yes);
		button.textContent = yes ? button.dataset.busy : label;
	};
	button.form.addEventListener("submit", (event) => {
		if ((event.submitter ?? button) !== button) return;
		if (button.hasAttribute("aria-busy")) return event.preventDefault();
		busy(true);
		setTimeout(busy, 2e4, false);
	});
	addEventListener("pageshow", (event) => event.persisted && busy(false));
}

/** Delete what this tab has stored for the user. */
export function forget() {
	for (const name of ["User", "Draft", "Posted"]) delete sessionStorage["authapp" + name];
}

/** Call work(waited) when no other tab is in its turn. "waited" is true if this tab had to wait. */
export async function inTurn(name, work) {
	const began = mono();
	const run = () => work(mono() - began > 0.02);
	if (!navigator.locks) return run();
	const signal = AbortSignal.timeout?.(2e4);
	return navigator.locks.request(name, { signal }, run).catch(run);
}

/** Return a function that sends compose(its arguments) to the other tabs. They call hear with it. */
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
		try {
			localStorage[name] = clock();
			delete localStorage[name];
		} catch {} // the application has filled the storage
	};
}

/** Return the full URL of an address. Throw an error if the address is not on this site. */
export function ours(address) {
	const { protocol, origin, pathname, search } = new URL(address, location.origin);
	if (protocol !== location.protocol || origin !== location.origin)
		throw new TypeError(`watchSession: ${address} is not an address of this site`);
	return origin + pathname + search;
}

/** Return true if "it" is the JSON of GET /session, and not something that another server sent. */
export function isSession(it) {
	const { user, validity: times, now } = it ?? {};
	if (user === null) return Number.isFinite(now);
	if (!/^(string|number)$/.test(typeof user?.id)) return false;
	return [now, times?.valid_until, times?.refresh_until].every(Number.isFinite);
}
