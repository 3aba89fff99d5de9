/** The listeners of one HOST. */
import { createServer, type Server } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { openListeners } from "../../src/perimeter/open-listeners.ts";

/** A server without IPv6, or whose address another process holds: only `listen` differs. */
function failing(code: string, on: string): Server {
  const server = createServer();
  const { listen } = server;
  server.listen = ((options: { host: string }, ...rest: unknown[]) => {
    if (options.host !== on) return (listen as (...all: unknown[]) => Server).call(server, options, ...rest);
    queueMicrotask(() =>
      server.emit("error", Object.assign(new Error(code), { code, syscall: "listen", address: on })),
    );
    return server;
  }) as Server["listen"];
  onTestFinished(() => void server.close());
  return server;
}

test("localhost is both loopback addresses, with one port, and an address is that address alone", async () => {
  const servers = [failing("none", ""), failing("none", "")];
  const opened = await openListeners(servers, 0, "LOCALHOST");
  expect(opened.map(({ address }) => address)).toEqual(["127.0.0.1", "::1"]);
  expect(new Set(opened.map(({ port }) => port)).size).toBe(1);
  for (const host of ["127.0.0.1", "::1", "[::1]"]) {
    expect(await openListeners([failing("none", "")], 0, host)).toHaveLength(1);
  }
});

test.each(["EADDRNOTAVAIL", "EAFNOSUPPORT"])(
  "Without IPv6 (%s), localhost is 127.0.0.1; without IPv4 it is ::1",
  async (code) => {
    const withoutV6 = await openListeners([createClosed(), failing(code, "::1")], 0, "localhost");
    expect(withoutV6.map(({ address }) => address)).toEqual(["127.0.0.1"]);
    const withoutV4 = await openListeners([failing(code, "127.0.0.1"), createClosed()], 0, "localhost");
    expect(withoutV4.map(({ address }) => address)).toEqual(["::1"]);
    await expect(openListeners([failing(code, "::1")], 0, "::1")).rejects.toMatchObject({ code });
  },
);

test("If one of the two addresses cannot be opened, none stays open", async () => {
  const [first, second] = [createClosed(), failing("EADDRINUSE", "::1")];
  await expect(openListeners([first, second], 0, "localhost")).rejects.toMatchObject({ code: "EADDRINUSE" });
  expect([first.listening, second.listening]).toEqual([false, false]);
});

function createClosed(): Server {
  return failing("none", "");
}
