/** Claims of idempotent requests survive the end of the process, and nothing is sent without one. */
import { readFileSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY } from "../support/gateway.ts";
import { sendTo, startOnceApi } from "../support/once-api.ts";
import { startProcess } from "../support/process.ts";
import { startUpstream } from "../support/upstream.ts";

test("After kill -9 a kept response is replayed, and a request without one is not sent again", async () => {
  const upstream = await startUpstream((req, res) => {
    req.resume();
    // The second request gets no response.
    if (upstream.requests.length !== 2) res.writeHead(201, { "x-charge": "ch_1" }).end("charged");
  });
  const services = { api: { baseUrl: upstream.url, idempotency: true } };
  const files = { "services.json": JSON.stringify({ services }) };
  const env = { PROXY_API_KEY: PROXY_KEY, CONFIG_FILE: "services.json" };
  const first = startProcess(env, [], files);
  const data = join(first.directory, "data");
  const port = await first.port();
  expect(await sendTo(port, "kept").received).toMatchObject({ status: 201, body: "charged" });
  const cut = sendTo(port, "cut").received.catch(() => "cut");
  await eventually(() => upstream.requests.length === 2);
  first.child.kill("SIGKILL");
  await first.ended;
  expect(await cut).toBe("cut");

  const second = startProcess({ ...env, DATA_DIR: data }, [], files);
  const again = await second.port();
  const replayed = await sendTo(again, "kept").received;
  expect(replayed).toMatchObject({ status: 201, body: "charged", isReplayed: true });
  expect(replayed.headers["x-charge"]).toBe("ch_1");
  const refused = await Promise.all(Array.from({ length: 5 }, () => sendTo(again, "cut").received));
  for (const each of refused) {
    expect(each).toMatchObject({ status: 409, code: "IDEMPOTENCY_CONFLICT" });
    const seconds = Number(each.headers["retry-after"]);
    expect(seconds).toBeGreaterThan(500);
    expect(seconds).toBeLessThanOrEqual(600);
  }
  expect(await sendTo(again, "kept", "amount=2").received).toMatchObject({ status: 422 });
  expect(upstream.requests).toHaveLength(2);
});

test("Without room on the disk a request with a key is refused and not sent; others pass", async () => {
  const folder = tempFolder();
  const api = await startOnceApi({}, { stores: await openFileStores(folder, isStoredService, isStoredKey) });
  const path = join(folder, "claims.jsonl");
  expect(await api.post("before")).toMatchObject({ status: 201 });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  // In one step: the result of the first request may still be on its way to the file.
  symlinkSync("/dev/full", `${path}.full`);
  renameSync(`${path}.full`, path);
  const refused = await api.post("k");
  expect(refused).toMatchObject({ status: 503, code: "STORE_UNAVAILABLE" });
  expect(refused.headers["retry-after"]).toBeDefined();
  expect(refused.body).not.toContain(folder);
  expect(api.requests).toHaveLength(1);
  expect(await api.post([])).toMatchObject({ status: 201 });
  expect(api.gateway.logText()).toContain("ENOSPC");
  rmSync(path);
  expect(await api.post("k")).toMatchObject({ status: 201, isReplayed: false });
  expect(await api.post("k")).toMatchObject({ status: 201, isReplayed: true });
});

test("The journal holds neither the client's key, nor its Authorization, its body, its caller's key or a cookie", async () => {
  const folder = tempFolder();
  const api = await startOnceApi({}, { stores: await openFileStores(folder, isStoredService, isStoredKey) });
  api.respond = (res) => res.writeHead(200, { "set-cookie": "session=cookie-secret" }).end("response");
  const headers = { authorization: "Bearer users-own-token", cookie: "a=users-own-cookie" };
  await api.post("clients-own-key", "request-body", { headers });
  expect(await api.post("clients-own-key", "request-body", { headers })).toMatchObject({ isReplayed: true });
  await api.gateway.close();
  const text = readFileSync(join(folder, "claims.jsonl"), "utf8");
  expect(text).toContain(Buffer.from("response").toString("base64"));
  const secrets = [
    PROXY_KEY,
    "clients-own-key",
    "users-own-token",
    "users-own-cookie",
    "cookie-secret",
    "request-body",
  ];
  for (const secret of secrets) {
    for (const form of [secret, Buffer.from(secret).toString("base64")]) expect(text).not.toContain(form);
  }
});
