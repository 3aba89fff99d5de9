import { expect, test } from "vitest";
import type { Resolve } from "../../../src/data-plane/forward/dialing.ts";
import { createDial } from "../../../src/data-plane/forward/egress.ts";
import type { EgressPolicy } from "../../../src/data-plane/forward/egress-policy.ts";
import { respondWith, startRawUpstream } from "../../support/upstream.ts";

type Answer = Parameters<Resolve>[2];

function start(port: number) {
  const questions: { readonly hostname: string; readonly answer: Answer }[] = [];
  const egress: EgressPolicy = {
    allowsPrivate: true,
    ownListeners: () => [],
    resolve: (hostname, _options, answer) => void questions.push({ hostname, answer }),
  };
  const service = { connectTimeoutMs: 5_000, tls: {} };
  const dial = createDial({ service, pem: {}, isTlsStrict: true, egress });
  const connect = (hostname: string) =>
    new Promise<string>((resolve) => {
      dial({ hostname, host: hostname, protocol: "http:", port: String(port) }, (error, socket) => {
        socket?.destroy();
        resolve(error?.message ?? "connected");
      });
    });
  const connectAll = (hostname: string) => Promise.all(Array.from({ length: 50 }, () => connect(hostname)));
  return { questions, connectAll };
}

test("Connections that wait for one name share one lookup, a later one starts a new lookup, and another name does not wait", async () => {
  const { port } = await startRawUpstream(respondWith(""));
  const { questions, connectAll } = start(port);
  const answer = (at: number) => questions[at]?.answer(null, [{ address: "127.0.0.1", family: 4 }]);
  const silent = connectAll("silent.test");
  const other = connectAll("other.test");
  expect(questions.map(({ hostname }) => hostname)).toEqual(["silent.test", "other.test"]);
  answer(1);
  expect(new Set(await other)).toEqual(new Set(["connected"]));
  questions[0]?.answer(new Error("no such name"), []);
  expect(new Set(await silent)).toEqual(new Set(["no such name"]));
  const again = connectAll("silent.test");
  expect(questions).toHaveLength(3);
  answer(2);
  expect(new Set(await again)).toEqual(new Set(["connected"]));
});
