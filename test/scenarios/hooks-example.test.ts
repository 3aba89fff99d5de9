/** The examples of docs/hooks.md work as they are written, in JavaScript and in TypeScript. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { tempFolder } from "../config/temp-folder.ts";
import { PROXY_KEY } from "../support/gateway.ts";
import { startHookedGateway } from "../support/hooks.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const root = resolve(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/hooks.md"), "utf8");
const example = (language: string) => new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(page)?.[1] as string;

test("The example of docs/hooks.md adds a header, refuses a path, hides a header and counts", async () => {
  const upstream = await startUpstream((_, res) => res.setHeader("x-powered-by", "Upstream").end("ok"));
  const gateway = await startHookedGateway(example("js"), { services: { api: { baseUrl: upstream.url } } });
  const { body } = await manage(gateway, "POST", "/keys", { name: "mobile", permissions: ["api:*"] });
  const response = await gateway.ask("/users", { headers: { "x-api-key": body.key } });
  expect([response.status, response.headers.has("x-powered-by")]).toEqual([200, false]);
  expect(upstream.requests[0]?.headers["x-team"]).toBe("mobile");
  const refused = await gateway.ask("/archive/1", { method: "DELETE" });
  expect(refused.headers.get("x-proxy-error")).toBe("REFUSED_BY_HOOK");
  expect(await refused.json()).toMatchObject({
    error: "Refused by a hook",
    message: "The archive is read-only.",
    code: "REFUSED_BY_HOOK",
    status: 403,
    service: "api",
    hookCode: "READ_ONLY",
  });
  expect((await gateway.ask("/archive/1")).status).toBe(200);
  expect(upstream.requests.map(({ headers }) => headers["x-team"])).toEqual(["mobile", "proxy-key"]);
  expect(upstream.requests.map(({ headers }) => headers["x-api-key"])).toEqual([undefined, undefined]);
  expect(gateway.logText()).not.toContain(PROXY_KEY);
});

test("The TypeScript example of docs/hooks.md compiles against the types of the package, and a wrong hook does not", () => {
  const folder = tempFolder({
    "package.json": '{"type":"module"}',
    "tsconfig.json": JSON.stringify({
      compilerOptions: { module: "nodenext", strict: true, noEmit: true, lib: ["es2023"], types: ["node"] },
      include: ["*.ts"],
    }),
    "hooks.ts": example("ts"),
    "wrong.ts": `import type { Hook } from "byteproxy/hooks";
      // @ts-expect-error: the method is read-only
      export const a: Hook = { name: "a", onRequest: (request) => void (request.method = "PUT") };
      // @ts-expect-error: no such function
      export const b: Hook = { name: "b", onReponse() {} };
      // @ts-expect-error: a value would be an error
      export const c: Hook = { name: "c", onRequest: async () => 403 };`,
  });
  const installed = join(folder, "node_modules/byteproxy");
  mkdirSync(installed, { recursive: true });
  symlinkSync(join(root, "node_modules/@types"), join(folder, "node_modules/@types"));
  copyFileSync(join(root, "package.json"), join(installed, "package.json"));
  const tsc = join(root, "node_modules/.bin/tsc");
  const run = (...words: string[]) => execFileSync(tsc, words, { encoding: "utf8", stdio: "pipe" });
  run("-p", join(root, "tsconfig.types.json"), "--outDir", join(installed, "dist"));
  writeFileSync(join(installed, "dist/hooks/contract.js"), "export {};");
  expect(run("-p", folder)).toBe("");
});
