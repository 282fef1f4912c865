/** Learns that the session was ended in another browser. No side effects before watch() is called. */
import { channel, mono, page } from "./browser.js";

/**
 * Asks the server regularly, while this page is visible, whether the session has ended. If several
 * tabs are visible, one of them asks. Each response says how long to wait until the next request.
 * "isOn" returns true if there is a session. "ended" is called if the session has ended.
 */
export function watch(address, isOn, ended) {
	let next = 0; // when to ask, by mono()
	// Half a second less, because a tick that comes a moment too early would cost a second.
	const wait = (seconds) => (next = mono() + Math.min(60, Math.max(1, seconds) || 10) - 0.5);
	const tell = channel(address, wait, (seconds) => seconds);
	const told = (seconds) => (wait(seconds), tell(seconds));

	async function ask() {
		told(16); // meanwhile no tab asks, so a server that hangs has one request of this browser
		let answer = {};
		try {
			const headers = { "X-Authapp-Background": "1" };
			const response = await fetch(address, { headers, signal: AbortSignal.timeout?.(15e3) });
			answer = await response.json();
		} catch {} // whether the server is down is no question of this page
		told(answer?.again);
		if (answer?.ended === true) ended();
	}

	wait(1);
	setInterval(() => {
		if (mono() >= next && isOn() && page("visibilityState") === "visible") ask();
	}, 1e3);
}
