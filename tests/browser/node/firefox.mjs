// Firefox for tests/browser/test_firefox.py, controlled by WebDriver BiDi. One process runs all walks.
// An input line is {"walk": its name, "site": URL}. The output line is {"fault": null or the error}.
import readline from "node:readline";
import puppeteer from "puppeteer-core";

const SECONDS = 20; // for anything that a walk waits for
const browser = await puppeteer.launch({
	browser: "firefox",
	executablePath: process.argv[2],
	headless: true,
	extraPrefsFirefox: { "intl.accept_languages": "en" },
});

/** Use another browser, which has its own cookies. Its pages must have no errors or warnings. */
async function inBrowser(work) {
	const context = await browser.createBrowserContext();
	const faults = [];
	const open = async (address) => {
		const page = await context.newPage();
		page.setDefaultTimeout(SECONDS * 1000);
		page.on("pageerror", (error) => faults.push(String(error)));
		page.on("console", (it) => /^(error|warn)/.test(it.type()) && faults.push(it.text()));
		await page.evaluateOnNewDocument(() => {
			addEventListener("securitypolicyviolation", (it) => console.error(`refused: ${it.violatedDirective}`));
		});
		if (address) await page.goto(address);
		return page;
	};
	try {
		await work(open);
	} finally {
		await context.close();
	}
	if (faults.length) throw new Error(`the console has: ${faults.join("; ")}`);
}

/** Wait until a function returns true in the page. */
const until = (page, isSo, ...given) => page.waitForFunction(isSo, { polling: 50 }, ...given);
const at = (page, pattern) => until(page, (it) => new RegExp(it).test(location.href), pattern);
const text = (page, selector) => page.$eval(selector, (it) => it.textContent.trim());
const value = (page, selector) => page.$eval(selector, (it) => it.value);

function equal(found, expected) {
	if (found !== expected) throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
}

async function fill(page, password = "alice-password") {
	await page.waitForSelector("#username");
	await page.$eval("#username", (it) => (it.value = ""));
	await page.type("#username", "alice");
	await page.type("#password", password);
	await page.keyboard.press("Enter");
}

async function signIn(page, address) {
	await page.goto(address);
	await fill(page);
	await until(page, (it) => location.href === it, address);
}

const covered = (page) => page.waitForSelector("dialog.authapp-cover[open]");

const walks = {
	/** After a wrong password, the user signs in. */
	async signIn({ site }) {
		await inBrowser(async (open) => {
			const page = await open(`${site}/account`);
			await page.click("#show-password");
			equal(await page.$eval("#password", (it) => it.type), "text");
			await fill(page, "wrong");
			await page.waitForSelector("#problem");
			await fill(page);
			await until(page, (it) => location.href === it, `${site}/account`);
			equal(await text(page, "#email"), "alice@example.com");
		});
	},

	/** The visible tab renews the session, and tells the other tab. */
	async renewal({ site }) {
		await inBrowser(async (open) => {
			const [page, other] = [await open(), await open()];
			await signIn(page, `${site}/account`);
			await other.goto(`${site}/account`);
			for (const each of [page, other])
				await each.evaluate(() => document.addEventListener("authapp:renewed", () => (window.renewed = true)));
			for (const each of [page, other]) await until(each, () => window.renewed);
		});
	},

	/** A sign-out in one tab also changes the other tab, and so does a sign-in. */
	async twoTabs({ site }) {
		await inBrowser(async (open) => {
			const [page, other] = [await open(), await open()];
			await signIn(page, `${site}/account`);
			await other.goto(`${site}/form`);
			await page.bringToFront();
			await page.click("header nav form button");
			await at(page, "/login\\?reason=SignedOut$");
			await at(other, "/login\\?next=%2Fform&reason=SignedOut$");
			await fill(page);
			await until(other, (it) => location.href === it, `${site}/form`);
		});
	},

	/** One browser ends the session of another. The page there is covered, and the typed text is kept. */
	async ended({ site }) {
		await inBrowser(async (openMine) => {
			await inBrowser(async (open) => {
				const [mine, page] = [await openMine(), await open()];
				await signIn(page, `${site}/form`);
				await page.type("[name=title]", "half a letter");
				await signIn(mine, `${site}/account/sessions`);
				await mine.click("button[name=others]");
				await until(mine, () => !document.querySelector("button[name=others]"));
				await page.bringToFront();
				// Since then, this page has sent no request itself.
				await covered(page);
				equal(await text(page, ".authapp-cover h2"), "Your session has ended");
				await page.keyboard.press("Escape");
				await covered(page);
				await until(page, () => document.activeElement.matches(".authapp-cover a"));
				await page.keyboard.press("Enter");
				await at(page, "reason=SessionRevoked");
				await fill(page);
				await until(page, () => document.querySelector("[name=title]")?.value === "half a letter");
				equal(await value(page, "[name=pin]"), "");
			});
		});
	},

	/** The sign-out goes on to the provider, although the policy of the page has form-action 'self'. */
	async provider({ site }) {
		await inBrowser(async (open) => {
			const page = await open(`${site}/account`);
			await page.waitForSelector("input[name=login]");
			await page.type("input[name=login]", "alice");
			await page.type("input[name=password]", "any");
			await page.click("button[type=submit]");
			await page.waitForSelector("button[autofocus]:not([name])");
			await page.click("button[type=submit]");
			await until(page, (it) => location.href === it, `${site}/account`);
			equal(await text(page, "#email"), "alice@example.com");
			const { "content-security-policy": policy } = (await page.reload()).headers();
			equal(/form-action 'self'(;|$)/.test(policy), true);
			await page.click("header nav form button");
			await at(page, "/session/end\\?");
			await page.click("button[value=yes]");
			await until(page, (it) => location.href === it, `${site}/login?reason=SignedOut`);
		});
	},
};

process.stdout.write("ready\n");
for await (const line of readline.createInterface({ input: process.stdin })) {
	const { walk, ...given } = JSON.parse(line);
	const fault = await walks[walk](given).then(() => null, (error) => error.stack);
	process.stdout.write(JSON.stringify({ fault }) + "\n");
}
await browser.close();
