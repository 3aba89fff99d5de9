/** http-proxy's followRedirects and fetch modes send the injected credential to any redirect target. */
import { expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

test.each([301, 302, 303, 307, 308])(
  "A %i goes to the client, and the credential only to its own upstream",
  async (status) => {
    const thief = await startUpstream();
    const upstream = await startUpstream((_, res) => {
      res.writeHead(status, { location: `${thief.url}/steal` });
      res.end();
    });
    const gateway = await startGateway({
      env: { TOKEN: "the-real-one" },
      services: { api: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "TOKEN" } } },
    });
    const response = await fetch(`${gateway.url}/proxy/api/`, { redirect: "manual" });
    expect([response.status, response.headers.get("location")]).toEqual([status, `${thief.url}/steal`]);
    expect(thief.requests).toEqual([]);
    expect(upstream.requests).toHaveLength(1);
  },
);
