/** How the variables of the egress proxy are read, and that no problem shows a credential. */
import { describe, expect, test } from "vitest";
import { readProxy } from "../../src/config/egress-proxy.ts";
import { readConfig } from "../../src/config/load-config.ts";
import { tempFolder } from "./temp-folder.ts";

const configure = (processEnv: Record<string, string>) => readConfig({ directory: tempFolder(), processEnv });

describe("the URL of a proxy", () => {
  test.each([
    ["http://proxy.example:3128", "proxy.example", 3128, false, undefined],
    ["http://proxy.example/", "proxy.example", 80, false, undefined],
    ["HTTPS://Proxy.Example", "proxy.example", 443, true, undefined],
    ["http://[2001:db8::1]:8080", "2001:db8::1", 8080, false, undefined],
    ["http://user:p%40s%3As@p:1", "p", 1, false, "user:p@s:s"],
    ["http://user@p:1", "p", 1, false, "user:"],
  ])("%s is read", (text, hostname, port, isTls, credential) => {
    const proxy = readProxy(text);
    expect(proxy).toMatchObject({ hostname, port, isTls });
    expect(proxy?.credential?.reveal()).toBe(credential);
    expect(proxy?.url).not.toContain("@");
  });

  test.each([
    "proxy.example:3128",
    "socks5://proxy.example",
    "http://",
    "http://p/path",
    "http://p?x",
    "http://p#x",
    "http://u%3Aser:word@p",
    "http://user:%0d%0aX@p",
    "http://user:%E0%A4%A@p",
    "http://p:99999",
    "http://p q",
  ])("%j is refused", (text) => expect(readProxy(text)).toBeUndefined());
});

describe("the variables", () => {
  test.each([
    ["EGRESS_PROXY", "socks5://user:hunter2@proxy.example"],
    ["EGRESS_PROXY_AUTH", "http://proxy.example,http://user:hunter2@proxy.example/x"],
  ])("A problem with %s shows only the length of its value", async (name, value) => {
    const { problems } = await configure({ [name]: value });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(`${name} (environment): found a string of ${value.length} characters`);
    expect(problems[0]).not.toContain("hunter2");
  });

  test("A printed configuration has no credential of a proxy", async () => {
    const { config, problems } = await configure({
      EGRESS_PROXY: "http://user:hunter2@proxy.example:3128",
      EGRESS_PROXY_AUTH: "http://other:hunter3@other.example",
    });
    expect(problems).toEqual([]);
    expect(JSON.stringify(config)).not.toMatch(/hunter|dXNlcjpodW50ZXI/);
    expect(JSON.stringify(config.settings)).toContain("http://proxy.example:3128");
  });

  test.each([["HTTPS_PROXY"], ["https_proxy"], ["ALL_PROXY"]])(
    "%s without EGRESS_PROXY is a warning, and without its value",
    async (name) => {
      const { config } = await configure({ [name]: "http://user:hunter2@proxy.example:3128" });
      const text = config.warnings.join();
      expect(text).toContain(`${name} (environment): has no effect`);
      expect(text).toContain("did you mean EGRESS_PROXY?");
      expect(text).not.toContain("hunter2");
      const set = await configure({ [name]: "http://p", EGRESS_PROXY: "http://p" });
      expect(set.config.warnings.join()).not.toContain(name);
    },
  );

  test("no_proxy is read as NO_PROXY", async () => {
    expect((await configure({ no_proxy: "a.example" })).config.settings.NO_PROXY).toBe("a.example");
  });
});
