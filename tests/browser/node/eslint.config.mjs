// Only what a browser would notice too late: names that are not declared, and names that are not used.
import globals from "globals";

export default [
	{
		files: ["**/*.js"],
		languageOptions: { sourceType: "module", globals: globals.browser },
		linterOptions: { reportUnusedDisableDirectives: "error" },
		rules: { "no-undef": "error", "no-unused-vars": ["error", { caughtErrors: "none" }] },
	},
];
