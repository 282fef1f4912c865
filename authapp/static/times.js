/** Writes the times of a page in the language and the time zone of the browser. */
const language = document.documentElement.lang;
for (const time of document.querySelectorAll("time"))
	time.textContent = new Date(time.dateTime).toLocaleString(language, {
		dateStyle: "medium",
		timeStyle: "short",
	});
