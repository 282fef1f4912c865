// The Next.js side of the tests. Each input line is a command in JSON. Each output line is the
// result of one command, in JSON.
// `now` in a command sets the clock of this process, because tests change the time.
import { createInterface } from "node:readline";

let offset = 0;
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [Date.now()]));
  }
  static now() {
    return RealDate.now() + offset;
  }
};

const { parse } = await import("cookie");
const jwt = { 4: await import("next-auth/jwt"), 5: await import("@auth/core/jwt") };
const { Auth } = await import("@auth/core");
const { options, secrets } = await import("./session.js");
const pages = await import("./[...nextauth].js");
const { decodeWithAny } = await import("./decode.js");
const { sessionOf, stateOf, wayIn } = await import("./read.js");
const PATH = "/api/auth";

// Call next-auth 4 with a request in the form that the pages router of Next.js passes.
async function visit4({ method, url, headers, body }) {
  const { pathname, searchParams } = new URL(url);
  const nextauth = pathname.slice(PATH.length + 1).split("/");
  const query = { ...Object.fromEntries(searchParams), nextauth };
  const form = Object.fromEntries(new URLSearchParams(body));
  const answer = { status: 200, headers: {}, body: "" };
  const res = {
    status: (status) => ((answer.status = status), res),
    getHeader: (name) => answer.headers[name],
    setHeader: (name, value) => ((answer.headers[name] = value), res),
    json: (value) => res.send(JSON.stringify(value)),
    send: (value) => (answer.body = typeof value === "string" ? value : JSON.stringify(value)),
    end: () => {},
  };
  const cookies = parse(headers.cookie ?? "");
  await pages.default({ method, headers, cookies, query, body: form }, res);
  return answer;
}

async function visit5({ method, url, headers, body }) {
  const request = new Request(url, { method, headers, body: method === "POST" ? body : undefined });
  const response = await Auth(request, { basePath: PATH, ...options() });
  const { "set-cookie": _, ...others } = Object.fromEntries(response.headers);
  const all = { ...others, "Set-Cookie": response.headers.getSetCookie() };
  return { status: response.status, headers: all, body: await response.text() };
}

const actions = {
  encode: ({ version, ...params }) => jwt[version].encode(params),
  decode: ({ version, ...params }) => jwt[version].decode(params),
  getToken({ version, cookie, ...params }) {
    const req = { headers: new Headers({ cookie }), cookies: parse(cookie) };
    const any = version === 4 && !params.secret ? { decode: decodeWithAny } : {};
    return jwt[version].getToken({ req, ...any, ...params });
  },
  sessionOf: ({ cookie }) => sessionOf({ headers: new Headers({ cookie }), cookies: parse(cookie) }),
  stateOf: ({ cookie }) => stateOf({ headers: new Headers({ cookie }), cookies: parse(cookie) }),
  wayIn: async ({ path }) => wayIn(path),
  secrets: async () => secrets(),
  visit: (request) => (request.version === 4 ? visit4 : visit5)(request),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: action, now, environ, ...params } = JSON.parse(line);
  Object.assign(process.env, environ);
  offset = now * 1000 - RealDate.now();
  const answer = await actions[action](params).then(
    (value) => ({ value }),
    (error) => ({ error: String(error) }),
  );
  console.log(JSON.stringify(answer));
}
