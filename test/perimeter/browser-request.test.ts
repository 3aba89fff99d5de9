/** Requests that a page of another origin may have sent. */
import { expect, test } from "vitest";
import { createOwnNames, mayBeOfForeignPage } from "../../src/perimeter/browser-request.ts";

const AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36";

test.each([
  ["an image of another site", true, { "sec-fetch-site": "cross-site" }],
  ["a page on another port of this machine", true, { "sec-fetch-site": "same-site" }],
  ["an unknown relation", true, { "sec-fetch-site": "" }],
  ["a page with another Origin", true, { origin: "https://evil.example" }],
  ["a page with another Origin that claims to be its own", true, { origin: "null", "sec-fetch-site": "same-origin" }],
  ["an image in a browser that says nothing more", true, { "user-agent": AGENT }],
  ["an image in a browser that writes its name otherwise", true, { "user-agent": AGENT.toLowerCase() }],
  ["a typed address", false, { "user-agent": AGENT, "sec-fetch-site": "none" }],
  ["the gateway's own page", false, { "user-agent": AGENT, "sec-fetch-site": "same-origin", origin: "http://gw:1" }],
  [
    "an image that a response of an upstream asks for",
    true,
    { "sec-fetch-site": "same-origin", "sec-fetch-mode": "no-cors" },
  ],
  ["a page under a name that is not listed", true, { host: "evil.test:1", origin: "http://evil.test:1" }],
  ["a page under an address", false, { host: "192.0.2.1:1", origin: "http://192.0.2.1:1" }],
  ["a page under an IPv6 address", false, { host: "[2001:db8::1]:1", origin: "http://[2001:db8::1]:1" }],
  ["a page under localhost", false, { host: "localhost:1", origin: "http://localhost:1" }],
  ["a page under the name in PUBLIC_URL", false, { host: "public.example", origin: "http://public.example" }],
  ["the gateway's own page behind TLS", false, { "user-agent": AGENT, origin: "https://gw:1" }],
  ["curl", false, { "user-agent": "curl/8.5.0" }],
  ["a program without a User-Agent", false, {}],
])("Of %s it is %s that a foreign page may have sent it", (_, isForeign, headers) => {
  const isOwnName = createOwnNames({ ALLOWED_HOSTS: ["*", "gw"], PUBLIC_URL: "https://public.example/" });
  expect(mayBeOfForeignPage({ host: "gw:1", ...headers }, isOwnName)).toBe(isForeign);
});
