import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Dial } from "../../../../src/data-plane/forward/egress.ts";
import { createTransport } from "../../../../src/data-plane/forward/transport/transport.ts";
import type { ResponseListener } from "../../../../src/data-plane/forward/transport/transport-contract.ts";
import { eventually } from "../../../support/eventually.ts";
import { respondWith, startRawUpstream } from "../../../support/upstream.ts";

const CONNECTIONS = { maxConnections: 10, maxPending: 0, idleConnectionMs: 3_600_000, maxConnectionAgeMs: 3_600_000 };

/** Only the clock is fake: the sockets and their timers are real. */
beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

/** @param answers of the resolver, the last one for ever; undefined for a failure. */
async function startTransport(...answers: (readonly string[] | undefined)[]) {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const { port } = new URL(upstream.url);
  let lookups = 0;
  const dial: Dial = Object.assign(
    (_: unknown, callback: Parameters<Dial>[1]) => {
      const socket = connect(Number(port), "127.0.0.1", () => callback(null, socket));
    },
    {
      resolve: (_: string, callback: (addresses: readonly string[] | undefined) => void) =>
        callback(answers[Math.min(lookups++, answers.length - 1)]),
    },
  );
  const transport = createTransport(dial, CONNECTIONS);
  const request = { party: "", origin: `http://api.test:${port}`, method: "GET", path: "/", headers: [], body: null };
  const send = () =>
    new Promise<void>((resolve, reject) => {
      const listener: Partial<ResponseListener> = {
        onRequestStart: () => {},
        onResponseStart: () => {},
        onResponseData: () => {},
        onResponseEnd: () => resolve(),
        onResponseError: reject,
      };
      transport.dispatch({ ...request, contentLength: undefined }, listener as ResponseListener, "any");
    });
  /** Sends a request after `seconds`, and waits until its connection is idle or closed. @returns the connections so far. */
  const sendAfter = async (seconds: number) => {
    vi.advanceTimersByTime(seconds * 1_000);
    await send();
    await eventually(() => transport.connections().busy === 0);
    return upstream.received.length;
  };
  return { sendAfter, lookups: () => lookups, transport };
}

describe("address of an open connection", () => {
  test("A connection whose address the name has left takes no request after two responses of the resolver", async () => {
    const { sendAfter } = await startTransport(["10.0.0.1"], ["10.0.0.1"], ["127.0.0.1"]);
    expect(await sendAfter(0)).toBe(1);
    expect(await sendAfter(11)).toBe(1);
    expect(await sendAfter(1)).toBe(1);
    expect(await sendAfter(3)).toBe(2);
    expect(await sendAfter(60)).toBe(2);
  });

  test("A name is resolved again at most every ten seconds, and only for a request", async () => {
    const { sendAfter, lookups } = await startTransport(["127.0.0.1"]);
    for (let i = 0; i < 20; i++) await sendAfter(1);
    expect(lookups()).toBe(1);
    await sendAfter(3_000);
    expect(lookups()).toBe(2);
  });

  test("One response without the address changes nothing", async () => {
    const { sendAfter } = await startTransport(["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["10.0.0.1"], ["127.0.0.1"]);
    for (let i = 0; i < 8; i++) expect(await sendAfter(11)).toBe(1);
  });

  test("A resolver that fails changes nothing", async () => {
    const { sendAfter } = await startTransport(undefined);
    for (let i = 0; i < 5; i++) expect(await sendAfter(11)).toBe(1);
  });
});
