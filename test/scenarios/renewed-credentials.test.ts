/** A secret that is renewed while responses to its predecessor are still on their way. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

/** A program that prints what `print` was given last. */
function openProgram(secret: string) {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-renewed-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const [script, value] = [join(folder, "print"), join(folder, "value")];
  writeFileSync(script, `#!/bin/sh\ncat '${value}'\n`);
  chmodSync(script, 0o755);
  const print = (text: string) => writeFileSync(value, text);
  print(secret);
  return { script, print };
}

const headers = { "x-api-key": PROXY_KEY };
const env = { PROXY_API_KEY: PROXY_KEY };

test("Links and cookies below the path of an earlier secret lead to the gateway", async () => {
  const program = openProgram("first secret/1");
  let accepted = "/base/botfirst%20secret%2F1/";
  let release: (() => void) | undefined;
  const upstream = await startUpstream((req, res) => {
    const url = req.url as string;
    const own = url.split("/").slice(0, 3).join("/");
    const respond = () => {
      res.setHeader("location", `${own}/next`);
      res.setHeader("link", `<../2>; rel="next"`);
      res.setHeader("set-cookie", `a=1; Path=${own}/x`);
      res.end(`asked for ${url}`);
    };
    if (url.endsWith("/slow")) release = respond;
    else {
      if (!url.startsWith(accepted)) res.statusCode = 401;
      res.end();
    }
  });
  const { url } = await startGateway({
    env,
    services: {
      api: {
        baseUrl: `${upstream.url}/base`,
        cookies: true,
        scrubBodies: true,
        auth: { type: "custom", secrets: { t: { command: [program.script] } }, path: "/bot{t}" },
      },
    },
  });
  const ask = (path: string) => fetch(`${url}/proxy/api${path}`, { headers, redirect: "manual" });
  const slow = ask("/slow");
  await eventually(() => release !== undefined, "the slow request");
  program.print("second secret/2");
  accepted = "/base/botsecond%20secret%2F2/";
  expect((await ask("/x")).status).toBe(200);
  release?.();
  const response = await slow;
  expect(response.headers.get("location")).toBe(`${url}/proxy/api/next`);
  expect(response.headers.get("set-cookie")).toBe("a=1; Path=/proxy/api/x");
  expect(await response.text()).toMatch(/^asked for \/base\/bot\*+\/slow$/);
});

test("A body that streams while the secret is renewed shows neither the new secret nor the one before it", async () => {
  const [first, second] = ["first-secret-of-the-program", "second-secret-of-the-program"];
  const program = openProgram(first);
  let accepted = first;
  let stream: ServerResponse | undefined;
  const upstream = await startUpstream((req, res) => {
    if (req.url === "/events") {
      stream = res;
      res.writeHead(200, { "content-type": "text/event-stream" }).write(`data: ${req.headers.authorization}\n\n`);
      return;
    }
    if (req.headers.authorization !== `Bearer ${accepted}`) res.statusCode = 401;
    else stream?.write(`data: another client sent ${accepted}, the first one ${first}\n\n`);
    res.end();
  });
  const { url } = await startGateway({
    env,
    services: {
      events: { baseUrl: upstream.url, scrubBodies: true, auth: { type: "bearer", tokenCommand: [program.script] } },
    },
  });
  const response = await fetch(`${url}/proxy/events/events`, { headers });
  let text = "";
  const read = (async () => {
    for await (const chunk of response.body ?? []) text += Buffer.from(chunk).toString();
  })();
  accepted = second;
  program.print(accepted);
  expect((await fetch(`${url}/proxy/events/x`, { headers })).status).toBe(200);
  await eventually(() => text.includes("another client"), "the event of the other client");
  stream?.end();
  await read;
  expect(text).not.toContain("secret-of");
  const masked = (secret: string) => "*".repeat(secret.length);
  expect(text).toBe(
    `data: Bearer ${masked(first)}\n\ndata: another client sent ${masked(second)}, the first one ${masked(first)}\n\n`,
  );
});

test("A printed secret is not sent once it has become a key of the gateway, also as the user name of Basic", async () => {
  const later = "a-later-key-0123456789";
  const programs = [openProgram(later), openProgram(`${later}:x`)];
  const upstream = await startUpstream();
  const [bearer, basic] = programs.map(({ script }) => script) as [string, string];
  const gateway = await startGateway({
    services: {
      bearer: { baseUrl: upstream.url, auth: { type: "bearer", tokenCommand: [bearer] } },
      basic: { baseUrl: upstream.url, auth: { type: "basic", tokenCommand: [basic] } },
    },
  });
  const statuses = async () => {
    const requests = ["bearer", "basic"].map((key) =>
      fetch(`${gateway.url}/proxy/${key}/x`, { headers: { "x-api-key": later } }),
    );
    return (await Promise.all(requests)).map(({ status }) => status);
  };
  expect(await statuses()).toEqual([200, 200]);
  writeFileSync(join(gateway.directory, ".env"), `PROXY_API_KEY=${later}\n`);
  expect(await gateway.reload()).toMatchObject({ isDone: true });
  expect(await statuses()).toEqual([502, 502]);
  expect(upstream.requests).toHaveLength(2);
});
