/**
 * When the session of a page ends, keeps what the user has typed, and covers the page. The module
 * does nothing until prepare() is called. See docs/pages.md.
 */
import { fill, page, show } from "./browser.js";

const memory = sessionStorage;
const FIELDS = "input, textarea, select, [contenteditable]";
// A field with such a name is not stored, because it may contain a secret.
const SECRET =
	/pass|pwd|secret|token|cvv|cvc|csc|otp|2fa|mfa|\bpins?\b|(api|private)-?key|card|\bcc-?(num|no\b|exp|type|name|given|family|add|holder|month|year|code|sec|\d)|iban|ssn|(^|one.?time|auth\w*|sms|verif\w*|security|login|access|confirm\w*|backup|recovery)[-_ ]?codes?$/i;
// The text of these parts may change while the user signs in, so it does not say what a record is.
const CHANGING = `textarea, select, time, script, style, template, button:not([type=button]), [type=submit],
	[contenteditable], [aria-live], [role=status], [role=alert], [data-authapp-draft=off]`;
// The user cannot change these fields, so their values are text of the page.
const FIXED = ":disabled:not([type=checkbox], [type=radio]), [readonly]:not([name]), [type=hidden]";
const CSRF = /csrf|token/i;

const all = (selector) => [...page("querySelectorAll").call(document, selector)];
const listen = (event, hear) => page("addEventListener").call(document, event, hear, true);
const attribute = (element, name) => Element.prototype.getAttribute.call(element, name) ?? "";
const formOf = (field) => field.form ?? field.closest("form");
// These work even if a form has a field with the name of a method or a property.
const is = (node, selector) => node instanceof Element && Element.prototype.matches.call(node, selector);
const parentOf = (node) => Reflect.get(Node.prototype, "parentNode", node);
const childrenOf = (node) => [...Reflect.get(Node.prototype, "childNodes", node)];
const outputs = new WeakMap(); // each <output>, and its text when the page opened

/** Watch the forms of the page. current() returns the page's path, and the user's draft_key. */
export function prepare(name, current) {
	const changed = new Set();
	const secrets = new WeakSet();
	const change = ({ target }) => {
		if (target.type === "password") secrets.add(target);
		changed.add(target.closest?.("[contenteditable]") ?? target);
	};
	listen("input", change);
	listen("change", change);
	listen("focusin", ({ target }) => target.type === "password" && secrets.add(target));
	listen("reset", ({ target }) => {
		for (const field of changed) if (field.form === target) changed.delete(field);
	});
	// A button that shows a password changes the type of the field. The field stays secret.
	const types = { subtree: true, attributeFilter: ["type"], attributeOldValue: true };
	new MutationObserver((records) => {
		for (const { oldValue, target } of records) if (oldValue === "password") secrets.add(target);
	}).observe(document, types);

	for (const it of all("output")) outputs.set(it, it.textContent);
	let held = memory.authappDraft && hold(name);
	addEventListener("submit", (event) => event.defaultPrevented || keep("authappPosted"));

	const isSecret = (field) => secrets.has(field) || isPrivate(field);
	/** Store what the user has typed, encrypted (the draft). Returns false if nothing was stored. */
	async function keep(place = "authappDraft") {
		const [path, key] = current();
		const fields = all(FIELDS);
		const typed = [...changed].filter((it) => fields.includes(it) && !isSecret(it) && isChanged(it));
		if (!typed.length || !key || !crypto.subtle) return false;
		const values = typed.map(valueOf);
		try {
			const keyOf = await keys(fields);
			const kept = typed.map((it, index) => ({
				key: keyOf.get(it),
				value: values[index],
				certain: keyOf.one(it),
			}));
			memory[place] = await seal(JSON.stringify({ path, kept }), key);
		} catch {
			return false; // too large for the storage
		}
		if (place === "authappDraft") held = hold(name);
		return true;
	}

	/** Put the draft back into its fields. Returns false if it is not certain where a value belongs. */
	async function restore() {
		const release = await held;
		const [path, key] = current();
		const sealed = memory.authappDraft;
		if (!sealed || !release) return;
		const draft = await open(sealed, key);
		if (draft && draft.path !== path) return; // the draft of another page
		const keyOf = draft && (await keys(all(FIELDS)));
		delete memory.authappDraft;
		release();
		if (!draft) return;
		const fields = [...keyOf.keys()].filter((it) => !isSecret(it));
		const find = (key) => fields.find((it) => keyOf.get(it) === key && keyOf.one(it));
		return draft.kept.map((it) => it.certain && putBack(find(it.key), it.value)).every(Boolean);
	}

	return { cover, keep, restore };
}

/**
 * Ensures that only one tab has the draft (what the user has typed, in sessionStorage). If a page
 * opens a new tab, the browser copies the draft into the new tab. So each draft has a lock. The tab
 * that gets the lock keeps the draft, and the other tab deletes its copy. A tab waits up to
 * 3 seconds for the lock, because the tab's previous page may still hold it.
 * Returns a promise. Its value is a function that releases the lock, or undefined if this tab has
 * deleted the draft.
 */
function hold(name) {
	const lock = `${name} draft ${memory.authappDraft.slice(0, 16)}`;
	return new Promise((held) => {
		const keep = () => new Promise((release) => held(release));
		const drop = () => {
			delete memory.authappDraft;
			held();
		};
		if (!navigator.locks) return drop();
		navigator.locks.request(lock, { signal: AbortSignal.timeout(3e3) }, keep).catch(drop);
	});
}

/** Return true if a field is never stored: it may be secret, the page forbids it, or it is no input. */
function isPrivate(field) {
	const form = formOf(field);
	const off = (name) => [field, form].some((it) => it && attribute(it, name).toLowerCase() === "off");
	if (off("autocomplete") || off("data-authapp-draft") || field.closest("[data-authapp-draft=off]"))
		return true;
	if (/password|hidden|file|submit|image|button|reset/.test(field.type)) return true;
	if (field.readOnly || field.matches(":disabled")) return true;
	const names = [field.name ?? "", field.id, attribute(field, "autocomplete")];
	const words = (name) => name.replace(/([a-z])([A-Z])/g, "$1-$2").replace(/[\W_\d]+/g, "-");
	return names.some((it) => SECRET.test(it) || SECRET.test(words(it)));
}

const isCheck = ({ type }) => /checkbox|radio/.test(type);
const optionKey = ({ value, text }) => JSON.stringify([value, text]);

/** Return a map from each field to its key. A value is put back only if one field has its key. */
async function keys(fields) {
	const forms = new Map([[null, ""]]);
	const record = records();
	const texts = fields.map((field) => {
		const form = formOf(field);
		if (!forms.has(form)) forms.set(form, formKey(form));
		return forms.get(form) + fieldKey(field) + record(field, form);
	});
	const digests = await Promise.all(texts.map(digest));
	const result = new Map(fields.map((field, index) => [field, digests[index]]));
	result.one = (field) => digests.filter((it) => it === result.get(field)).length === 1;
	return result;
}

/** Return the key of a form: its address and its hidden fields, but not the CSRF token. */
function formKey(form) {
	const names = ["id", "name", "action", "method"].map((name) => attribute(form, name));
	const hidden = all("input[type=hidden]")
		.filter((it) => it.form === form && !CSRF.test(it.name))
		.map((it) => [it.name, it.value]);
	return JSON.stringify([names, hidden]);
}

/** Return the key of a field in its form: its name, its first value, and its label. */
function fieldKey(field) {
	const labels = [...(field.labels ?? [])].map((it) => textOf(it));
	const value = isCheck(field) ? field.value : (field.defaultValue ?? "");
	const names = ["name", "type", "id", "aria-label"].map((name) => attribute(field, name));
	return JSON.stringify([field.localName, names, value, labels]);
}

/**
 * Return a function of a field and its form. It returns the text that shows which record the field
 * edits: the <h1>, and the text of the form. If there is no form, the text of <main> or <body> is
 * used. If the field is in a row of a list, the text of the other rows is left out.
 */
function records() {
	const shape = cached(shapeOf);
	const headings = all("h1").map((it) => textOf(it));
	// beside(element)(fields) is the text of the element without its rows. A row is a child that
	// contains exactly these fields. If there is only one such child, the element has no list.
	const beside = cached((parent) => {
		const children = childrenOf(parent);
		return cached((fields) => {
			const others = children.filter((it) => shape(it) !== fields);
			const say = (inRow) => [...namesOf(parent), ...others.map((it) => textOf(it, inRow))].filter(Boolean);
			return { hasRows: others.length + 1 < children.length, text: say(false), rowText: say(true) };
		});
	});
	return (field, form) => {
		const top = field.closest("main") ?? page("body");
		const path = [];
		for (let it = field; it !== top && parentOf(it); it = parentOf(it)) path.push(it);
		const levels = path.map((it) => beside(parentOf(it))(shape(it)));
		const row = levels.findLastIndex((it) => it.hasRows);
		const end = path.includes(form) ? Math.max(path.indexOf(form), row) : path.length;
		const said = levels.slice(0, end).map((it, index) => (index < row ? it.rowText : it.text));
		return JSON.stringify([headings, said]);
	};
}

/** Return a function that calls make(key) once for each key. */
function cached(make) {
	const results = new Map();
	return (key) => {
		if (!results.has(key)) results.set(key, make(key));
		return results.get(key);
	};
}

/** Return the names of the fields in an element, without numbers: two rows have the same names. */
function shapeOf(element) {
	if (!(element instanceof Element)) return "";
	const fields = [element, ...Element.prototype.querySelectorAll.call(element, FIELDS)];
	const names = fields.filter((it) => is(it, FIELDS)).map((it) => [it.localName, it.type, it.name]);
	return names.join().replace(/\d+/g, "#");
}

/** Return the names of an element that are not text in the page. */
function namesOf(node) {
	return node instanceof Element ? ["alt", "aria-label"].map((name) => attribute(node, name)) : [];
}

/** Return the text of a node, without the parts that change. In a row, values of fields count too. */
function textOf(node, inRow = false) {
	if (node instanceof Text) return node.data.replace(/\s+/g, " ").trim();
	if (!(node instanceof Element) || is(node, CHANGING)) return "";
	if (is(node, "output")) return outputs.get(node) ?? "";
	const isText = is(node, "input") && (inRow || is(node, FIXED)) && !CSRF.test(node.name);
	const own = [...namesOf(node), isText ? attribute(node, "value") : ""];
	return [...own, ...childrenOf(node).map((it) => textOf(it, inRow))].filter(Boolean).join(" ");
}

/** Return the SHA-256 digest of a text in base64. */
async function digest(text) {
	const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
	return btoa(String.fromCharCode(...new Uint8Array(hash)));
}

function valueOf(field) {
	if (isCheck(field)) return field.checked;
	if (field.options) return [...field.selectedOptions].map(optionKey);
	return field.isContentEditable ? field.innerText : field.value;
}

function isChanged(field) {
	if (isCheck(field)) return field.checked !== field.defaultChecked;
	if (field.options) return [...field.options].some((it) => it.selected !== it.defaultSelected);
	return field.value !== field.defaultValue || field.isContentEditable;
}

/** Put a value back into its field. Returns false if the field or the option does not exist. */
function putBack(field, value) {
	if (!field) return false;
	if (isCheck(field)) field.checked = value;
	else if (field.options) {
		const options = [...field.options];
		if (value.some((it) => options.filter((each) => optionKey(each) === it).length !== 1)) return false;
		for (const each of options) each.selected = value.includes(optionKey(each));
	} else if (field.isContentEditable) field.innerText = value;
	else field.value = value;
	for (const event of ["input", "change"]) field.dispatchEvent(new Event(event, { bubbles: true }));
	return true;
}

const bytes = (text) => Uint8Array.from(atob(text), (it) => it.charCodeAt());
const importKey = (key) => crypto.subtle.importKey("raw", bytes(key), "AES-GCM", false, ["encrypt", "decrypt"]);

async function seal(text, key) {
	if (text.length > 1e6) throw new RangeError();
	const iv = crypto.getRandomValues(new Uint8Array(12));
	const data = new TextEncoder().encode(text);
	const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, await importKey(key), data);
	return btoa([...iv, ...new Uint8Array(sealed)].map((it) => String.fromCharCode(it)).join(""));
}

/** Decrypt a draft. Returns undefined if it is the draft of another user, or no draft. */
async function open(sealed, key) {
	try {
		const data = bytes(sealed);
		const algorithm = { name: "AES-GCM", iv: data.slice(0, 12) };
		const text = await crypto.subtle.decrypt(algorithm, await importKey(key), data.slice(12));
		return JSON.parse(new TextDecoder().decode(text));
	} catch {}
}

/** Cover the page, so that nobody can read or use it. The cover is above the page's own dialogs. */
function cover({ texts, href, who, site }) {
	const dialog = show("dialog", { className: "authapp-cover" }, page("documentElement"));
	dialog.style.cssText = "box-sizing:border-box;min-width:100%;min-height:100%;border:0";
	dialog.setAttribute("aria-labelledby", "authapp-cover-title");
	const card = show("div", { className: "authapp-card" }, dialog);
	if (site) show("p", { className: "authapp-brand", textContent: site }, card);
	show("h2", { id: "authapp-cover-title", textContent: texts.endedTitle }, card);
	if (who) show("p", { textContent: fill(texts.who, { name: who }) }, card);
	const kept = show("p", { textContent: texts.ended }, card);
	const link = show("a", { href, textContent: texts.signIn }, card);
	const raise = () => {
		if (!dialog.isConnected) page("documentElement").append(dialog);
		if (dialog.open) dialog.close();
		dialog.showModal();
		link.focus();
	};
	raise();
	dialog.onclose = () => dialog.open || raise(); // Escape must not uncover the page
	const isOver = (it) => it !== dialog && it.matches?.(":is(:modal, :popover-open)");
	new MutationObserver((records) => {
		if (!dialog.isConnected || !dialog.open || records.some((it) => isOver(it.target))) raise();
	}).observe(document, { subtree: true, childList: true, attributeFilter: ["open"] });
	for (const event of ["toggle", "fullscreenchange"])
		listen(event, ({ target }) => {
			if (page("fullscreenElement")) page("exitFullscreen").call(document);
			else if (isOver(target)) raise();
		});
	return { say: (text) => kept.prepend(text + " ") };
}
