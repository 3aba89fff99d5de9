/** Which modules are loaded as user hooks, and what a refusal says. */
import { chmodSync } from "node:fs";
import { dirname } from "node:path";
import { describe, expect, test } from "vitest";
import { createHookLoader, type HookLoaderParts, HooksUnusable } from "../../src/hooks/hook-loader.ts";
import { explainStartFailure } from "../../src/start/start-failure.ts";
import { rewriteHooks, writeHooks } from "../support/hooks.ts";

const quiet = { warn() {}, error() {} };
const createLoader = (parts: Partial<HookLoaderParts> = {}) =>
  createHookLoader({ logger: quiet, mask: (text) => text, ...parts });

async function refusalOf(path: string, parts: Partial<HookLoaderParts> = {}): Promise<string> {
  const error = await createLoader(parts)
    .load(path)
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
  expect(error).toBeInstanceOf(HooksUnusable);
  const line = explainStartFailure(error) as string;
  // One line with the file, the reason and the fix.
  expect(line).toMatch(/^MIDDLEWARE_PATH: the hooks in \/.* cannot be used: [^\n]*; [^\n]*\.$/);
  expect(line).toContain(path);
  return line.slice(line.indexOf("cannot be used: "));
}

describe("A module of user hooks", () => {
  test.each([
    ["one hook as the default export", 'export default { name: "a", onRequest() {} }', ["a"]],
    [
      "a list",
      'export default [{ name: "a", onRequest() {} }, { name: "b/c", onComplete: async () => {} }]',
      ["a", "b/c"],
    ],
    ["a list with the name hooks", 'export const hooks = [{ name: "a", onResponse() {} }]', ["a"]],
    ["the module itself", 'export const name = "a"; export function onRequest() {}', ["a"]],
    ["an instance of a class", 'class A { name = "a"; onRequest() {} } export default new A()', ["a"]],
  ])("%s is loaded", async (_, source, names) => {
    const hooks = await createLoader().load(writeHooks(source));
    expect(hooks.counts.map(({ name }) => name)).toEqual(names);
  });

  test("A CommonJS module is loaded", async () => {
    const hooks = await createLoader().load(
      writeHooks('module.exports = [{ name: "a", onRequest() {} }]', "hooks.cjs"),
    );
    expect(hooks.counts).toMatchObject([{ name: "a", phases: ["onRequest"] }]);
  });

  test.each([
    ["is no object", "export default 7", "is no object"],
    ["exports nothing", "export {}", "needs a name"],
    ["exports an empty list", "export default []", "an empty list"],
    [
      "exports both forms",
      'export default { name: "a", onRequest() {} }; export const hooks = []',
      "both default and hooks",
    ],
    ["has a hook without a name", "export default { onRequest() {} }", "needs a name"],
    ["has a name with a line break", 'export default { name: "a\\nb", onRequest() {} }', "needs a name"],
    ["has two hooks with one name", 'const a = { name: "a", onRequest() {} }; export default [a, a]', "the name a"],
    ["has a hook without a function", 'export default { name: "a" }', "none of onRequest, onResponse, onComplete"],
    [
      "has a misspelt function",
      'export default { name: "a", onRequest() {}, onReponse() {} }',
      "unknown member onReponse",
    ],
    [
      "has a member that is no function",
      'export default { name: "a", onRequest: true }',
      "onRequest that is no function",
    ],
    ["has a getter that throws", "export default { get name() { throw 1 } }", "threw an error"],
    [
      "is a proxy that throws",
      "export default [new Proxy({}, { get() { throw 1 }, ownKeys() { throw 1 } })]",
      "threw an error",
    ],
    ["throws", "const a = 1;\nthrow new TypeError('no database')", "it did not load: TypeError: no database"],
    ["throws no error", "throw Object.create(null)", "it threw a value"],
    ["is no JavaScript", "export default {", "it did not load: SyntaxError"],
    ["imports a missing file", 'import "./missing.mjs"', "it did not load"],
  ])("A module that %s is refused with one line", async (_, source, reason) => {
    expect(await refusalOf(writeHooks(source))).toContain(reason);
  });

  test("A path without a file, a folder and another kind of file are refused", async () => {
    const path = writeHooks("");
    expect(await refusalOf(`${path}x`)).toContain("there is no such file; correct the path, or unset MIDDLEWARE_PATH");
    expect(await refusalOf(dirname(path))).toContain("it is not a file");
    expect(await refusalOf(writeHooks("{}", "hooks.json"))).toContain("does not end in .js, .mjs or .cjs");
  });

  test.runIf(!(process.features as { typescript?: unknown }).typescript)(
    "TypeScript is refused by a Node that cannot load it",
    async () => {
      const line = await refusalOf(writeHooks("export default {}", "hooks.ts"));
      expect(line).toContain(`Node ${process.versions.node} cannot load TypeScript; compile it to JavaScript`);
    },
  );

  test("A module that another user may write is never executed", async () => {
    const path = writeHooks("globalThis.executed = true; export default {}");
    chmodSync(path, 0o666);
    expect(await refusalOf(path)).toContain("can be written by other users (mode 0666)");
    chmodSync(path, 0o600);
    chmodSync(dirname(path), 0o777);
    expect(await refusalOf(path)).toContain("can be written by other users (mode 0777)");
    expect(globalThis).not.toHaveProperty("executed");
  });

  test("A module whose top-level await never ends is refused after the limit", async () => {
    const path = writeHooks("await new Promise(() => {}); export default {}");
    expect(await refusalOf(path, { loadLimitMs: 20 })).toContain("it was not loaded within 20 ms");
  });

  test("A secret in the message of an error is masked", async () => {
    const path = writeHooks('throw new Error("the key is s3cret")');
    expect(await refusalOf(path, { mask: (text) => text.replaceAll("s3cret", "***") })).toContain("the key is ***");
  });

  test("A module is loaded again only if its content changed, and after a failure", async () => {
    const loader = createLoader();
    const path = writeHooks('export default { name: "a", onRequest() {} }');
    const first = await loader.load(path);
    expect(await loader.load(path)).toBe(first);
    rewriteHooks(path, 'if (!globalThis.byteproxyTest) throw 1; export default { name: "b", onRequest() {} }');
    await expect(loader.load(path)).rejects.toThrow(HooksUnusable);
    Object.assign(globalThis, { byteproxyTest: true });
    const second = await loader.load(path).finally(() => Reflect.deleteProperty(globalThis, "byteproxyTest"));
    expect(second.counts).toMatchObject([{ name: "b" }]);
  });

  test("What a hook does to its object later changes nothing", async () => {
    const path = writeHooks(
      'const hook = { name: "a", onRequest() { hook.name = "b"; hook.onRequest = () => { throw 1 } } }; export default hook',
    );
    const hooks = await createLoader().load(path);
    const step = { requestId: "r", service: "s", timeoutMs: 100, abort: new AbortController() };
    const draft = { view: {} } as Parameters<typeof hooks.onRequest>[0];
    for (let i = 0; i < 2; i++) hooks.onRequest(draft, { id: "x", name: undefined }, step);
    expect(hooks.counts).toMatchObject([{ name: "a", failures: 0 }]);
  });
});
