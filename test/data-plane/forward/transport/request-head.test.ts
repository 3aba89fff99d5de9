import { describe, expect, test } from "vitest";
import { createRequestHead } from "../../../../src/data-plane/forward/transport/request-head.ts";
import type { TransportRequest } from "../../../../src/data-plane/forward/transport/transport-contract.ts";

const GET: TransportRequest = {
  party: "",
  origin: "http://api.test",
  method: "GET",
  path: "/a?b",
  headers: ["X-A", "1", "X-A", "caf\xe9"],
  body: null,
  contentLength: undefined,
};

describe("head of a request", () => {
  test("It has the Host first, then the headers in their order and spelling", () => {
    expect(createRequestHead(GET, "api.test:81")).toBe(
      "GET /a?b HTTP/1.1\r\nhost: api.test:81\r\nconnection: keep-alive\r\nX-A: 1\r\nX-A: caf\xe9\r\n\r\n",
    );
  });

  const stream = { start() {}, resume() {}, stop() {} };
  test.each<[string, Partial<TransportRequest>, string]>([
    ["no body of a GET", {}, ""],
    ["no body of a POST", { method: "POST" }, "content-length: 0\r\n"],
    ["an announced length of 0", { contentLength: 0 }, "content-length: 0\r\n"],
    ["a buffered body", { body: Buffer.from("abc") }, "content-length: 3\r\n"],
    ["a body of announced length", { body: stream, contentLength: 7 }, "content-length: 7\r\n"],
    ["a body without a length", { body: stream }, "transfer-encoding: chunked\r\n"],
  ])("The framing of %s is exact", (_, request, framing) => {
    expect(createRequestHead({ ...GET, headers: [], ...request }, "h").split("connection: keep-alive\r\n")[1]).toBe(
      `${framing}\r\n`,
    );
  });

  test.each(["\r", "\n", "\0", "\u010a", "\u010d", "\x7f"])("%j is refused in every part", (character) => {
    const text = `a${character}b`;
    for (const bad of [{ method: text }, { path: `/${text}` }, { headers: [text, "x"] }, { headers: ["x", text] }]) {
      if (character === "\x7f" && "path" in bad) continue;
      expect(() => createRequestHead({ ...GET, ...bad }, "h")).toThrow(/invalid character/);
    }
  });
});
