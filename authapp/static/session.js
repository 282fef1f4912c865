/**
 * Keeps the session of a page up to date: renews it before it expires, and ends it in all tabs at
 * once. Only the server decides who is signed in. See docs/pages.md.
 */
import {
	TEXTS, channel, clock, emit, fill, fillForms, forget, inTurn, isFresh, isSession, mono, notes, ours, page, sleep, timeLeft,
} from "./browser.js";

const DOWN = "BackendUnavailable";
const VERSION = "authapp 2"; // of the messages between tabs
const memory = sessionStorage; // of this tab

export function watchSession({ url = "/session", login = "/login", waiting, ...options } = {}) {
	[url, login] = [ours(url), ours(login)];
	const texts = { ...TEXTS, ...options.texts };
	const here = location.pathname + location.search;
	const reason = waiting && new URLSearchParams(location.search).get("reason");
	let session = {};
	// Times in seconds: "due" by the server's clock, "heard" and "pause" by mono().
	let ahead = 0; // how far the server's clock is ahead of this machine's
	let drift = clock() - mono();
	let due; // when to renew
	let heard = 0; // when the server or another tab was last heard
	let pause = 0; // do not ask the server before this time
	let failures = 0; // requests in a row that failed
	let wants = 0; // how often this tab has asked since the last answer
	let since = 0; // answers to requests before this time are too old, by clock()
	let queued; // promise of the next answer
	let why, hinted, ended, unsure, leaving, closed, fixed, ending;
	const now = () => clock() + ahead;
	const endsAt = () => Math.min(session.validity.refresh_until, session.idle_until ?? Infinity);
	const say = notes();

	/** Load ending.js early: when the session ends, the browser may be offline. */
	const load = () =>
		(ending ??= import("./ending.js")
			.then((it) => it.prepare(url, () => [here, session.draft_key]))
			.catch(() => (ending = undefined)));

	/** Take over a session that the server has sent to this tab or to another tab. */
	function learn(news) {
		if (leaving) return;
		unsure = false;
		const { user, validity, signed_in_at } = session;
		ahead = news.ahead ?? news.now - clock();
		heard = mono();
		if (user && !news.user) return end(news.error || why);
		if (!news.user) {
			if (reason === "SignedOut") forget();
			return (session = { ...session, ...news });
		}
		why = "";
		const id = String(news.user.id);
		const same = id === (memory.authappUser ?? id);
		if ((user || waiting) && !same) return change();
		if (ended || (waiting && !user)) return leave();
		if (!same) forget();
		try {
			memory.authappUser = id;
		} catch {} // the application has filled the storage
		session = { ...session, ...news, user: { ...user, ...news.user } };
		if (!user) restore();
		if (news.csrf_token) fillForms(news.csrf_token);
		const { valid_until } = session.validity;
		if (validity?.valid_until === valid_until) due = now() < due ? due : valid_until;
		else {
			due = valid_until - Math.min(30, (valid_until - now()) / 4);
			if (user) emit("renewed", session);
		}
		// The user has signed in again in another tab: the forms need a new CSRF token.
		if (signed_in_at !== session.signed_in_at && !news.csrf_token) askOnce();
	}

	/** GET the session, or renew it with POST. Then tell the other tabs. */
	async function ask(method = "GET", headers = { "X-Authapp-Background": "1" }) {
		const [wanted, at] = [wants, clock()];
		pause = mono() + 1;
		if (method === "POST") headers["X-CSRF-Token"] = session.csrf_token;
		let answer, news;
		try {
			answer = await fetch(url, { method, headers, signal: AbortSignal.timeout?.(15e3) });
			news = await answer.json();
		} catch {}
		if (wants === wanted) wants = 0;
		if (answer?.status === 403 && method === "POST") return ask(); // stale CSRF token
		if (answer?.status === 401 && news?.login_url)
			news = { user: null, error: String(news.code).replace("SignInRequired", ""), now: now() };
		else if (!answer?.ok || !isSession(news) || news.error === DOWN) return down(answer);
		failures = 0;
		learn(news);
		tell(news, at);
	}

	/** Ask the server. Only one tab asks at a time, and all waiting tabs use its answer. */
	function askOnce(time = clock()) {
		since = wants++ ? Math.max(since, time) : time;
		return (queued ??= inTurn(url, async (waited) => {
			if (waited) await sleep(0.05); // the answer to another tab may be under way
			while (wants && !leaving) await ask();
		}).finally(() => (queued = undefined)));
	}

	/** Use another tab's answer if it is awaited or of this user. Otherwise ask. */
	function hear(message) {
		const news = message?.authapp === VERSION && isSession(message.session) && message.session;
		if (!news || !Number.isFinite(news.ahead)) return hint();
		if (wants && message.at >= since) wants = 0;
		else if (ended || !session.user || String(session.user.id) !== String(news.user?.id))
			return hint(message.at, news.error);
		learn(news);
	}

	/** The session may have changed. Ask the server, at most once per second. */
	function hint(time, error) {
		why = error; // why the session ended, from another tab
		hinted = mono() < pause;
		if (!hinted) askOnce(time);
	}

	const known = () => session.csrf_token || askOnce();

	function down(answer) {
		const wait = Math.min(60, Math.max(answer?.headers.get("Retry-After") | 0, 2 ** ++failures));
		pause = mono() + wait * (1 + Math.random() / 4);
		wants = 0;
		// Without a user, the page shows no note.
		if (!isOver() && emit("unavailable", { wait }) && session.user) say(texts.unavailable);
	}

	/** If the server does not respond, end the session when its time is over. */
	function isOver() {
		if (ended || !session.user || !failures || now() < endsAt()) return ended;
		unsure = true;
		end(now() < session.validity.refresh_until ? "SessionIdle" : "RefreshTokenExpired");
		return true;
	}

	async function end(code) {
		if (ended) return;
		ended = true;
		code ||= now() < session.validity.refresh_until - 1 ? "SignedOut" : "RefreshTokenExpired";
		const shows = emit("ended", { code });
		say("");
		const tab = await load();
		const href = `${login}?${new URLSearchParams({ next: here, reason: code })}`;
		const who = options.who ?? session.user.email ?? "";
		const cover = shows && tab?.cover({ texts, href, who, site: options.site });
		if (code === "SignedOut") forget();
		else if (await tab?.keep()) cover?.say(texts.kept);
		if (shows && (code === "SignedOut" || !tab)) location.assign(href);
	}

	async function restore() {
		const tab = await load();
		if ((await tab?.restore()) === false)
			say(texts.partly, [[texts.close, () => say("")]]);
	}

	function leave() {
		leaving = true;
		location.replace(location.origin + here);
	}

	function change() {
		ended = leaving = true;
		forget();
		say(texts.other);
		setTimeout(leave, 2e3);
	}

	function tick() {
		const was = drift;
		drift = clock() - mono();
		if (drift < was - 2) ahead += was - drift; // the machine's clock was set back
		if (drift > was + 2) due = 0; // the machine has slept, or its clock was set
		if (isOver() && !unsure && !hinted) return;
		if (queued || mono() < pause) return;
		const hidden = page("hidden");
		if (hinted || ((!session.user || unsure) && failures && !hidden)) {
			hinted = false;
			return askOnce(0);
		}
		if (!session.user || ended) return;
		const { idle, idle_until, signed_in_at } = session;
		const end = endsAt();
		const margin = Math.min(120, (end === idle_until ? idle : end - signed_in_at) / 3);
		if (((failures || now() >= due) && !hidden) || now() >= end) askOnce(0);
		else if (now() < end - margin || closed === end) say("");
		else warn(end);
	}

	/** Show the note before the session ends. */
	function warn(end) {
		const idle = end === session.idle_until;
		const text = idle ? texts.idle : fixed === end ? texts.fixed : texts.ending;
		const stay = async () => {
			await ask(idle ? "GET" : "POST", {});
			if (session.validity.refresh_until === end && !failures) fixed = end;
		};
		const close = [texts.close, () => ((closed = end), say(""))];
		say(fill(text, { time: timeLeft(end - now()) }), fixed === end ? [close] : [[texts.stay, stay], close]);
	}

	/** The tab was shown, or the machine woke up: ask, at most once in 10 seconds. */
	function wake(event) {
		if ((ended && !unsure) || page("hidden") || !(session.user || waiting)) return;
		if (mono() - heard < 10 && !event.persisted && !unsure) return;
		heard = mono();
		askOnce(0);
	}

	const tell = channel(`authapp:${url}`, hear, (news, at) => {
		const session = { ...news, error: news.error ?? reason, ahead, now: now() };
		delete session.draft_key;
		return { authapp: VERSION, at, session };
	});
	// If sending a form led to the sign-in page, what the form contained is the draft.
	const posted = memory.authappPosted;
	delete memory.authappPosted;
	if (posted && login === location.origin + location.pathname) memory.authappDraft = posted;
	if (memory.authappDraft) load();
	const told = isFresh() && isSession(options.session) ? options.session : { error: DOWN };
	if (told.error === DOWN) failures = 1;
	else {
		learn(told);
		if (session.user) tell(session, clock());
		else if (reason) askOnce();
	}
	tick();
	setInterval(tick, 1e3);
	if (options.watch)
		import("./watch.js")
			.then((it) => it.watch(ours(options.watch), () => session.user && !ended, hint))
			.catch(() => {});
	for (const name of ["focus", "online", "pageshow"]) addEventListener(name, wake);
	page("addEventListener").call(document, "visibilitychange", wake);

	return {
		now,
		renew: async () => (await known(), ask("POST", {})),
		get session() {
			return session;
		},
		/** fetch() for this site: also sends the CSRF token, and after a 401 or 503 calls ask(). */
		async fetch(input, init) {
			let request = new Request(input, init);
			const ours = request.url.startsWith(location.origin + "/");
			if (ours && !/^(GET|HEAD|OPTIONS)$/.test(request.method)) {
				await known();
				// The token must not follow a redirect to another site.
				request = new Request(request, { mode: "same-origin" });
				request.headers.set("X-CSRF-Token", session.csrf_token);
			}
			const answer = await fetch(request);
			if (ours && !ended && (answer.status === 401 || (answer.status === 503 && mono() >= pause)))
				await askOnce();
			return answer;
		},
	};
}
