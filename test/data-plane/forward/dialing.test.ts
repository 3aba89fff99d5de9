import type { LookupAddress } from "node:dns";
import { once } from "node:events";
import { Socket } from "node:net";
import { expect, test } from "vitest";
import { Dialing, type DialingParts } from "../../../src/data-plane/forward/dialing.ts";

/** The fate of each address: ms until it connects, or the code of its failure. */
type Fates = Record<string, number | string>;

function dial(fates: Fates, also: Partial<DialingParts> = {}) {
  const sockets: { readonly address: string; readonly socket: Socket }[] = [];
  const found = Object.keys(fates).map(
    (address): LookupAddress => ({ address, family: address.includes(":") ? 6 : 4 }),
  );
  const outcome = new Promise<string>((resolve) => {
    new Dialing({
      open: (lookup) => {
        const socket = new Socket();
        lookup("api.test", {}, (_error, address) => {
          sockets.push({ address: String(address), socket });
          const fate = fates[String(address)] as number | string;
          if (typeof fate === "number") setTimeout(() => socket.destroyed || socket.emit("connect"), fate);
          else process.nextTick(() => socket.destroy(Object.assign(new Error(fate), { code: fate })));
        });
        return socket;
      },
      resolve: (_hostname, _options, callback) => callback(null, found),
      readyEvent: "connect",
      signal: undefined,
      timeoutMs: 2_000,
      createTimeout: () => new Error("timeout"),
      callback: (error, socket) =>
        resolve(error?.message ?? (sockets.find((each) => each.socket === socket)?.address as string)),
      ...also,
    });
  });
  return { outcome, tried: () => sockets.map(({ address }) => address), sockets };
}

test("A slow first address is used if the others fail, although it takes longer than 250 ms", async () => {
  const { outcome, tried } = dial({ "127.0.0.1": 500, "2001:db8::1": "ENETUNREACH" });
  expect(await outcome).toBe("127.0.0.1");
  expect(tried()).toEqual(["127.0.0.1", "2001:db8::1"]);
});

test("A later address that connects first is used, and the other sockets are destroyed", async () => {
  const { outcome, sockets } = dial({ "192.0.2.1": 60_000, "127.0.0.1": 20 });
  expect(await outcome).toBe("127.0.0.1");
  expect(sockets.map(({ socket }) => socket.destroyed)).toEqual([true, false]);
});

test("The families of the addresses alternate, and a failed address is followed by the next at once", async () => {
  const fates = { "10.0.0.1": "ECONNREFUSED", "10.0.0.2": "ECONNREFUSED", "2001:db8::1": "ENETUNREACH" };
  const startedAt = performance.now();
  const { outcome, tried } = dial(fates);
  expect(await outcome).toBe("ECONNREFUSED");
  expect(tried()).toEqual(["10.0.0.1", "2001:db8::1", "10.0.0.2"]);
  expect(performance.now() - startedAt).toBeLessThan(250);
});

test("The time limit ends the attempts at all addresses", async () => {
  const { outcome, sockets } = dial({ "10.0.0.1": 60_000, "10.0.0.2": 60_000 }, { timeoutMs: 400 });
  expect(await outcome).toBe("timeout");
  expect(sockets.map(({ socket }) => socket.destroyed)).toEqual([true, true]);
});

test("A canceled attempt destroys every socket and reports the reason", async () => {
  const canceled = new AbortController();
  const { outcome, sockets } = dial({ "10.0.0.1": 60_000 }, { signal: canceled.signal });
  const closed = once(sockets[0]?.socket as Socket, "close");
  canceled.abort(new Error("canceled"));
  expect(await outcome).toBe("canceled");
  await closed;
});
