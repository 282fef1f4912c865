// Sets the clock of a Next.js process in tests ahead, by the seconds in the file CLOCK.
const { readFileSync } = require("node:fs");

const RealDate = Date;
let offset = 0;
let read = -Infinity;

function now() {
  if (performance.now() - read > 5) {
    read = performance.now();
    offset = 1000 * Number(readFileSync(process.env.CLOCK, "utf8"));
  }
  return RealDate.now() + offset;
}

globalThis.Date = class Date extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [now()]));
  }
  static now() {
    return now();
  }
};
