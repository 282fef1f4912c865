// Only what a browser would find out too late: names that nobody declares, and names that nobody uses.
import globals from "globals";

export default [
	{
		files: ["**/*.js"],
		languageOptions: { sourceType: "module", globals: globals.browser },
		linterOptions: { reportUnusedDisableDirectives: "error" },
		rules: { "no-undef": "error", "no-unused-vars": ["error", { caughtErrors: "none" }] },
	},
];
