/** Notices if the session was ended in another browser. Importing this module has no side effects. */
import { channel, mono, page } from "./browser.js";

/**
 * Asks the server regularly whether the session has ended, while this page is visible. If several
 * tabs are visible, only one of them asks. Each response says when to ask again.
 * isOn() returns true if the page has a session. ended() is called if the session has ended.
 */
export function watch(address, isOn, ended) {
	let next = 0; // when to ask, by mono()
	// Half a second less. Otherwise a timer that runs a moment too early would ask a second later.
	const wait = (seconds) => (next = mono() + Math.min(60, Math.max(1, seconds) || 10) - 0.5);
	const tell = channel(address, wait, (seconds) => seconds);
	const told = (seconds) => (wait(seconds), tell(seconds));

	async function ask() {
		told(16); // no tab asks in this time, so a slow server gets only one request of this browser
		let answer = {};
		try {
			const headers = { "X-Authapp-Background": "1" };
			const response = await fetch(address, { headers, signal: AbortSignal.timeout?.(15e3) });
			answer = await response.json();
		} catch {} // session.js notices if the server is down
		told(answer?.again);
		if (answer?.ended === true) ended();
	}

	wait(1);
	setInterval(() => {
		if (mono() >= next && isOn() && page("visibilityState") === "visible") ask();
	}, 1e3);
}
