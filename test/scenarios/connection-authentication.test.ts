/** NTLM and Negotiate authenticate a connection, not a request: such a connection serves one client connection only. */
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket } from "../support/raw-request.ts";
import { startRawUpstream } from "../support/upstream.ts";

const HEAD_END = "\r\n\r\n";

/** An upstream that serves each connection as the one who authenticated it. @param challenge of its 401. */
async function start(challenge = "WWW-Authenticate: NTLM", service: object = {}) {
  const served = new Map<unknown, number>();
  let isClosing = false;
  const upstream = await startRawUpstream((socket, received) => {
    const heads = received.split(HEAD_END).slice(0, -1);
    for (; (served.get(socket) ?? 0) < heads.length; served.set(socket, (served.get(socket) ?? 0) + 1)) {
      const seen = heads.slice(0, (served.get(socket) ?? 0) + 1).join(HEAD_END);
      const who = [...seen.matchAll(/\r\nauthorization:[ \t]*(?:ntlm|negotiate|kerberos)[ \t]+(\S+)/gi)].at(-1)?.[1];
      if (isClosing) return void socket.destroy();
      const body = `you are ${who ?? "nobody"}`;
      const status = who === undefined ? `401 U\r\n${challenge}` : "200 OK";
      socket.write(`HTTP/1.1 ${status}\r\nContent-Length: ${body.length}${HEAD_END}${body}`);
    }
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, breaker: false, ...service } } });
  const connect = async () => {
    const client = await openSocket(gateway.port);
    const ask = async (authorization?: string, method = "GET") => {
      client.received = "";
      const line = authorization === undefined ? "" : `Authorization: ${authorization}\r\n`;
      client.write(`${method} /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n${line}\r\n`);
      await eventually(() => /you are \w+$|\}$/.test(client.received));
      return /you are (\w+)$/.exec(client.received)?.[1] ?? client.received.slice(9, 12);
    };
    return { client, ask };
  };
  const closeNext = () => {
    isClosing = true;
  };
  return { upstream, connect, closeNext };
}

describe("connection that a client authenticated", () => {
  test.each(["NTLM", "Negotiate", "ntlm", "NEGOTIATE", "Kerberos"])(
    "A connection that %s authenticated serves the requests of its client's connection, and no other client",
    async (scheme) => {
      const { upstream, connect } = await start();
      const [alice, bob] = [await connect(), await connect()];
      expect(await alice.ask(`${scheme} alice`)).toBe("alice");
      expect(await bob.ask()).toBe("nobody");
      expect(await bob.ask(`${scheme} bob`)).toBe("bob");
      expect(await alice.ask()).toBe("alice");
      expect(await alice.ask(undefined, "POST")).toBe("alice");
      expect(await bob.ask()).toBe("bob");
      expect(upstream.received).toHaveLength(2);
    },
  );

  test.each([
    ["WWW-Authenticate: NTLM"],
    ["WWW-Authenticate: Negotiate dG9rZW4="],
    ['WWW-Authenticate: Basic realm="a, b", negotiate'],
    ["WWW-Authenticate: Basic realm=x\r\nWWW-Authenticate: NTLM"],
    ["Proxy-Authenticate: NTLM"],
  ])(
    "The challenge %j already ties its connection to the client, because the next request answers it",
    async (challenge) => {
      const { upstream, connect } = await start(challenge);
      const [alice, bob] = [await connect(), await connect()];
      await alice.ask();
      await bob.ask();
      await alice.ask();
      expect(upstream.received.map((text) => text.split(HEAD_END).length - 1)).toEqual([2, 1]);
    },
  );

  test("A connection with another challenge or other credentials is shared as before", async () => {
    const { upstream, connect } = await start('WWW-Authenticate: Basic realm="ntlm-like", NegotiateX');
    const [alice, bob] = [await connect(), await connect()];
    await alice.ask("Basic YTpi");
    await bob.ask("Bearer negotiate");
    expect(upstream.received).toHaveLength(1);
  });

  test("The connection ends with the client's", async () => {
    const { upstream, connect } = await start();
    const alice = await connect();
    await alice.ask("NTLM alice");
    expect(upstream.sockets.size).toBe(1);
    alice.client.destroy();
    await eventually(() => upstream.sockets.size === 0);
  });

  test("A request that its connection lost is not sent again on another one", async () => {
    const { upstream, connect, closeNext } = await start();
    const alice = await connect();
    await alice.ask("Negotiate alice");
    closeNext();
    expect(await alice.ask()).toBe("502");
    expect(upstream.received).toHaveLength(1);
  });

  test("A tied connection without a request makes room for another client", async () => {
    const { connect } = await start(undefined, { maxConnections: 1 });
    const [alice, bob] = [await connect(), await connect()];
    expect(await alice.ask("NTLM alice")).toBe("alice");
    expect(await bob.ask("NTLM bob")).toBe("bob");
    expect(await alice.ask()).toBe("nobody");
  });
});
