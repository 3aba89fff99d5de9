/**
 * http-proxy forwards a request with `Expect: 100-continue` without calling the hook that edits its headers: the caller's
 * key leaks and nothing is injected. The AWS SDK sends that header with every upload.
 */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSocket } from "../support/raw-request.ts";
import { startRawUpstream } from "../support/upstream.ts";

test.each(["PUT", "POST"])(
  "A %s with Expect is stripped and gets the credential like any other request",
  async (method) => {
    const upstream = await startRawUpstream((socket, received) => {
      if (received.endsWith("body")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    const gateway = await startGateway({
      env: { TOKEN: "the-real-one", PROXY_API_KEY: PROXY_KEY },
      services: { api: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "TOKEN" } } },
    });
    const client = await openSocket(gateway.port);
    client.write(
      `${method} /proxy/api/?api_key=${PROXY_KEY} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${PROXY_KEY}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n`,
    );
    await eventually(() => client.received.includes("100 Continue"));
    client.write("body");
    await eventually(() => client.received.endsWith("ok"));
    expect(upstream.received[0]).toMatch(/^Authorization: Bearer the-real-one\r$/m);
    expect(upstream.received[0]).not.toMatch(/expect/i);
    expect(upstream.received[0]).not.toContain(PROXY_KEY);
  },
);
