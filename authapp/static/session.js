/**
 * Keeps the session up to date in all tabs of a site: renews it in time, and ends it in every tab
 * at once. Only the server decides who is signed in. See docs/pages.md.
 */
const TEXTS = {
	ending: "Your session ends soon.",
	ended: "Your session has ended. What you typed in this tab is kept. Sign in to continue.",
	idle: "You will be signed out soon, because you have not used this site for a while.",
	stay: "Stay signed in",
	signIn: "Sign in",
	unavailable: "The site is not responding right now. Nothing is lost, and this page keeps trying.",
	other: "Someone else has signed in. This page will reload.",
};
const DOWN = "BackendUnavailable";
const memory = sessionStorage; // of this tab
const clock = () => Date.now() / 1000;

export function watchSession({ url = "/session", login = "/login", waiting, ...options } = {}) {
	[url, login] = [ours(url), ours(login)];
	const texts = { ...TEXTS, ...options.texts };
	const here = location.pathname + location.search;
	const reason = waiting && new URLSearchParams(location.search).get("reason");
	let session = {};
	// Times are in seconds. "due" is by the server's clock, "heard" and "pause" by this machine's.
	let ahead = 0; // how far the server's clock is ahead of this machine's
	let due; // when to renew
	let heard = 0; // when the server or another tab was last heard
	let pause = 0; // do not ask the server before this time
	let failures = 0; // requests in a row that failed
	let ended, leaving, notice;
	const now = () => clock() + ahead;

	let said = "";
	function say(text, label, onclick) {
		if (said === text) return;
		said = text;
		notice &&= notice.remove();
		const properties = { className: "authapp-notice", role: "status", textContent: text };
		if (text) notice = show("div", properties);
		if (label) show("button", { type: "button", textContent: label, onclick }, notice);
	}

	/** A request of the person. */
	const stay = async () => (await ask("GET", {}), say(""));

	/** Take in the session as the server, or another tab, has reported it. */
	function learn(news) {
		if (leaving) return;
		const { user, validity, signed_in_at } = session;
		ahead = news.ahead ?? news.now - clock();
		heard = clock();
		if (user && !news.user) return end(news.error);
		if (!news.user) return (session = { ...session, ...news });
		const id = String(news.user.id);
		const same = id === (memory.authappUser ?? id);
		if ((user || waiting) && !same) return change();
		if (ended || (waiting && !user)) return leave();
		if (!same) delete memory.authappDraft;
		memory.authappUser = id;
		session = { ...session, ...news, user: { ...user, ...news.user } };
		if (!user) restoreForms(here);
		for (const field of document.getElementsByName("csrf_token"))
			field.value = news.csrf_token ?? field.value;
		const { valid_until } = session.validity;
		if (validity?.valid_until === valid_until) due = now() < due ? due : valid_until;
		else {
			due = valid_until - Math.min(30, (valid_until - now()) / 4);
			if (user) emit("renewed", session);
		}
		// A new sign-in, reported by another tab: our forms need the CSRF token of the new session.
		if (signed_in_at !== session.signed_in_at && !news.csrf_token) ask();
	}

	/** Ask the server for the session (POST: renew it), and tell the other tabs. */
	async function ask(method = "GET", headers = { "X-Authapp-Background": "1" }) {
		pause = clock() + 1;
		headers["X-CSRF-Token"] = session.csrf_token;
		let answer, news;
		try {
			answer = await fetch(url, { method, headers, signal: AbortSignal.timeout?.(15e3) });
			news = await answer.json();
		} catch {
			return down();
		}
		if (answer.status === 403 && method === "POST") return ask(); // stale CSRF token
		if (answer.status === 401 && news?.login_url)
			news = { error: news.code.replace("SignInRequired", ""), now: now() };
		else if (!answer.ok || !news?.now || news.error === DOWN) return down(answer);
		failures = 0;
		learn(news);
		tell(news);
	}

	const known = () => session.csrf_token || ask();

	/** Ask the server, unless another tab is asking: its answer is for all tabs. */
	function askOnce() {
		const work = (lock) => lock && ask();
		navigator.locks ? navigator.locks.request(url, { ifAvailable: true }, work) : ask();
	}

	function down(answer) {
		const wait = Math.min(60, Math.max(answer?.headers.get("Retry-After") | 0, 2 ** ++failures));
		pause = clock() + wait * (1 + Math.random() / 4);
		if (emit("unavailable", { wait })) say(texts.unavailable);
	}

	function end(code) {
		if (ended) return;
		ended = true;
		code ||= now() < session.validity.refresh_until - 1 ? "SignedOut" : "RefreshTokenExpired";
		try {
			keepForms(here);
		} catch {}
		if (!emit("ended", { code })) return;
		const href = `${login}?${new URLSearchParams({ next: here, reason: code })}`;
		const cover = show("dialog", { className: "authapp-cover", ariaLabel: texts.ended, textContent: texts.ended + " " });
		cover.style.cssText = "box-sizing:border-box;min-width:100%;min-height:100%;border:0";
		show("a", { href, textContent: texts.signIn }, cover);
		cover.onclose = () => cover.showModal(); // Escape must not uncover the page
		cover.showModal();
		if (code === "SignedOut") location.assign(href);
	}

	function leave() {
		leaving = true;
		location.replace(location.origin + here);
	}

	function change() {
		ended = leaving = true;
		delete memory.authappUser;
		delete memory.authappDraft;
		say(texts.other);
		setTimeout(leave, 2e3);
	}

	function tick() {
		if (clock() < heard) pause = due = 0; // the machine's clock was set back
		if (ended || clock() < pause) return;
		if (!session.user) return failures && !document.hidden && askOnce();
		const { idle, idle_until = Infinity, validity, signed_in_at } = session;
		const end = Math.min(validity.refresh_until, idle_until);
		const asks = (failures || now() >= due) && !document.hidden;
		const margin = Math.min(120, (end === idle_until ? idle : end - signed_in_at) / 3);
		if (asks || now() >= end) askOnce();
		else if (now() < end - margin) say("");
		else say(...(end === idle_until ? [texts.idle, texts.stay, stay] : [texts.ending]));
	}

	/** The tab is shown, or the machine is awake or online: ask, but not twice in 10 seconds. */
	function wake(event) {
		if (ended || document.hidden || !(session.user || waiting)) return;
		if (Math.abs(clock() - heard) < 10 && !event.persisted) return;
		heard = clock();
		askOnce();
	}

	const tell = channel(`authapp:${url}`, learn, ({ user, error, ...news }) => {
		const { validity, signed_in_at, idle, idle_until } = news;
		error ??= reason;
		user &&= { id: user.id };
		return { user, validity, error, signed_in_at, idle, idle_until, ahead };
	});
	const told = options.session ?? { error: DOWN };
	if (told.error === DOWN) failures = 1;
	else {
		learn(told);
		if (session.user) tell(session);
		else if (reason) ask();
	}
	keepPosted(location.pathname === new URL(login).pathname, here);
	tick();
	setInterval(tick, 1e3);
	for (const name of ["focus", "online", "pageshow", "visibilitychange"])
		addEventListener(name, wake);

	return {
		now,
		renew: async () => (await known(), ask("POST", {})),
		get session() {
			return session;
		},
		/** Like fetch(). For this site, sends the CSRF token, and after a 401 or 503 calls ask(). */
		async fetch(input, init) {
			const request = new Request(input, init);
			const ours = request.url.startsWith(location.origin + "/");
			if (ours) await known();
			if (ours) request.headers.set("X-CSRF-Token", session.csrf_token);
			const answer = await fetch(request);
			if (ours && [401, 503].includes(answer.status)) await ask();
			return answer;
		},
	};
}

/** The full URL of an address, which must be on this site: it is fetched and linked to. */
function ours(address) {
	const { protocol, origin, pathname, search } = new URL(address, location.origin);
	if (protocol !== location.protocol || origin !== location.origin)
		throw new TypeError(`watchSession: ${address} is not an address of this site`);
	return origin + pathname + search;
}

const emit = (name, detail) =>
	document.dispatchEvent(new CustomEvent("authapp:" + name, { detail, cancelable: true }));

const show = (tag, properties, on = document.body) =>
	on.appendChild(Object.assign(document.createElement(tag), properties));

/** A channel between tabs. "compose" makes the message, "hear" receives those of other tabs. */
function channel(name, hear, compose) {
	if (globalThis.BroadcastChannel) {
		const tabs = new BroadcastChannel(name);
		tabs.onmessage = (event) => hear(event.data);
		return (news) => tabs.postMessage(compose(news));
	}
	addEventListener("storage", ({ key, newValue }) => {
		if (key === name && newValue) hear(JSON.parse(newValue));
	});
	return (news) => {
		localStorage[name] = JSON.stringify(compose(news));
		delete localStorage[name];
	};
}

const secret = (field) => /password|hidden|file|code|cc-/.test(field.type + field.autocomplete);
const fields = () =>
	[...document.querySelectorAll("form :is(input, textarea, select)")].filter((it) => !secret(it));
const value = ({ type }) => (/checkbox|radio/.test(type) ? "checked" : "value");

/** Keep what was typed into forms for after the next sign-in, but no secrets. */
function keepForms(page) {
	memory.authappDraft = draft(page);
}

const draft = (page) =>
	JSON.stringify({ page, kept: fields().map((field) => [field.name, field[value(field)]]) });

/** Keep a form that is sent. It is a draft if the sign-in page answers (recent_auth). */
function keepPosted(atLogin, page) {
	if (atLogin && memory.authappPosted) memory.authappDraft = memory.authappPosted;
	delete memory.authappPosted;
	addEventListener("submit", (event) => {
		if (atLogin || event.defaultPrevented) return;
		try {
			memory.authappPosted = draft(page);
		} catch {}
	});
}

/** Put back what keepForms() has kept for this page. */
function restoreForms(page) {
	const found = JSON.parse(memory.authappDraft ?? "{}");
	if (found.page !== page) return;
	delete memory.authappDraft;
	for (const field of fields()) {
		const at = found.kept.findIndex(([name]) => name === field.name);
		if (at < 0) continue;
		field[value(field)] = found.kept.splice(at, 1)[0][1];
		field.dispatchEvent(new Event("input", { bubbles: true }));
	}
}
