/** Requests that a page of another origin may have sent. */
import { expect, test } from "vitest";
import { mayBeOfForeignPage } from "../../src/perimeter/browser-request.ts";

const AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36";

test.each([
  ["an image of another site", true, { "sec-fetch-site": "cross-site" }],
  ["a page on another port of this machine", true, { "sec-fetch-site": "same-site" }],
  ["an unknown relation", true, { "sec-fetch-site": "" }],
  ["a page with another Origin", true, { origin: "https://evil.example" }],
  ["a page with another Origin that claims to be its own", true, { origin: "null", "sec-fetch-site": "same-origin" }],
  ["an image in a browser that says nothing more", true, { "user-agent": AGENT }],
  ["a typed address", false, { "user-agent": AGENT, "sec-fetch-site": "none" }],
  ["the gateway's own page", false, { "user-agent": AGENT, "sec-fetch-site": "same-origin", origin: "http://gw:1" }],
  ["the gateway's own page behind TLS", false, { "user-agent": AGENT, origin: "https://gw:1" }],
  ["curl", false, { "user-agent": "curl/8.5.0" }],
  ["a program without a User-Agent", false, {}],
])("Of %s it is %s that a foreign page may have sent it", (_, isForeign, headers) => {
  expect(mayBeOfForeignPage({ host: "gw:1", ...headers })).toBe(isForeign);
});
