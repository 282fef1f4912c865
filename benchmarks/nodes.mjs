// The peers on Node: a process that measures the time of its own work.
// Each input line is JSON: {peer, action, number, value}. The output line is JSON:
// {seconds: the time of one call, value: the result of the last call}.

import { createInterface } from "node:readline"
import * as core from "@auth/core/jwt"
import nextAuth from "next-auth/jwt"

const options = {
  "next-auth 4": { secret: process.argv[2] },
  "@auth/core": { secret: process.argv[2], salt: process.argv[3] },
}
const jwt = { "next-auth 4": nextAuth, "@auth/core": core }

for await (const line of createInterface({ input: process.stdin })) {
  const { peer, action, number, ...given } = JSON.parse(line)
  // A page calls getToken, which finds the cookie in a request and decrypts it.
  const headers = { cookie: `${process.argv[3]}=${given.value}` }
  const works = { seal: "encode", open: "decode", request: "getToken" }
  const work = jwt[peer][works[action]]
  const params = { ...options[peer], token: given.value, cookieName: process.argv[3] }
  if (action === "request") {
    params.req = new Request("https://localhost/page", { headers })
    if (peer === "next-auth 4") params.req = { headers, cookies: { [params.cookieName]: given.value } }
  }
  let value
  const began = process.hrtime.bigint()
  for (let at = 0; at < number; at++) value = await work(params)
  const seconds = Number(process.hrtime.bigint() - began) / 1e9 / number
  console.log(JSON.stringify({ seconds, value }))
}
