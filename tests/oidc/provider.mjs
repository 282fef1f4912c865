// The certified package oidc-provider. The environment has its settings: see tests/oidc/certified.py.
// GET /control returns the number of calls by path. POST /control sets the paths that return 503.
import http from "node:http";
import { Provider } from "oidc-provider";

const { PORT, SITES, CLIENT_ID, CLIENT_SECRET, ACCESS_TTL, KEYS } = process.env;
const sites = SITES.split(" ");
const calls = {};
let down = [];

const provider = new Provider(`http://127.0.0.1:${PORT}`, {
  clients: [
    {
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: sites.map((site) => `${site}/login/oidc/callback`),
      post_logout_redirect_uris: sites.map((site) => `${site}/login?reason=SignedOut`),
      backchannel_logout_uri: `${sites[0]}/logout/backchannel`,
      backchannel_logout_session_required: true,
    },
  ],
  jwks: { keys: [JSON.parse(KEYS)] },
  cookies: { keys: ["keys of the provider in tests"] },
  claims: { openid: ["sub", "roles"], email: ["email"], profile: ["name"] },
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    revocation: { enabled: true },
  },
  ttl: { AccessToken: Number(ACCESS_TTL), RefreshToken: 86400, IdToken: 300, Grant: 86400,
    Session: 86400, Interaction: 3600 },
  rotateRefreshToken: true,
  // By default, the package sends no requests to this machine.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  findAccount: async (ctx, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, name: `The ${id}`, email: `${id}@example.com`, roles: ["admin"] }),
  }),
});

for (const event of ["server_error", "backchannel.error"]) {
  provider.on(event, (ctx, error) => console.error(event, error));
}

const callback = provider.callback();
http
  .createServer((request, response) => {
    const path = request.url.split("?")[0];
    if (path === "/control") {
      let body = "";
      request.on("data", (part) => (body += part));
      request.on("end", () => {
        if (request.method === "POST") down = JSON.parse(body).down;
        response.setHeader("Content-Type", "application/json");
        response.end(JSON.stringify(calls));
      });
      return;
    }
    calls[path] = (calls[path] ?? 0) + 1;
    if (down.includes(path)) {
      response.statusCode = 503;
      response.end();
      return;
    }
    callback(request, response);
  })
  .listen(Number(PORT), "127.0.0.1", () => console.log(`PORT ${PORT}`));
