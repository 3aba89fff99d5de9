/** `/docs` in a real browser: all of it comes from the gateway, keeps to its policy, and can be tried out. */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

/** What a page asks for and what it has to complain of. */
interface Watched {
  readonly page: Page;
  readonly hosts: Set<string>;
  readonly complaints: string[];
}

// A page of this size takes its time where two cores do everything.
describe.skipIf(!hasBrowser)("the documentation page", { timeout: 30_000 }, () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await openBrowser();
  });
  afterAll(() => browser?.close());

  async function open(url: string): Promise<Watched> {
    const page = await browser.newPage();
    const hosts = new Set<string>();
    const complaints: string[] = [];
    page.on("request", (request) => {
      const { protocol, host } = new URL(request.url());
      if (protocol !== "data:") hosts.add(host);
    });
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("requestfailed", (request) => complaints.push(`${request.url()} failed`));
    await page.goto(`${url}/docs`);
    await page.locator(".opblock").first().waitFor();
    return { page, hosts, complaints };
  }

  /** Opens an operation and clicks on Execute; resolves to what is shown of the answer. */
  async function tryOut(page: Page, operation: string, parameters: Record<string, string> = {}) {
    const block = page.locator(`#operations-${operation}`);
    await block.locator(".opblock-summary-control").click();
    for (const [name, value] of Object.entries(parameters)) await block.getByPlaceholder(name).fill(value);
    return execute(page, operation);
  }

  async function execute(page: Page, operation: string) {
    const block = page.locator(`#operations-${operation}`);
    await block.getByRole("button", { name: "Execute" }).click();
    const answer = block.locator(".live-responses-table .response");
    await answer.locator(".response-col_status").waitFor();
    return { status: await answer.locator(".response-col_status").innerText(), text: await answer.innerText() };
  }

  test("shows every operation, asks no other host and breaks no rule of its policy", async () => {
    const gateway = await startGateway();
    const { page, hosts, complaints } = await open(gateway.url);
    const document = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as { paths: Record<string, object> };
    const count = Object.values(document.paths).flatMap((methods) => Object.keys(methods)).length;
    expect(await page.locator(".opblock").count()).toBe(count);
    // Those with the most on them: bodies with editors, schemas, examples of many codes, the data plane's answer.
    for (const operation of [
      "Services-createService",
      "Services-patchService",
      "Status-getStatus",
      "Proxy-proxy_put",
    ]) {
      const block = page.locator(`#operations-${operation}`);
      await block.locator(".opblock-summary-control").click();
      await block.locator(".responses-table .response").last().waitFor();
    }
    expect([...hosts]).toEqual([new URL(gateway.url).host]);
    expect(complaints).toEqual([]);
    await page.close();
  });

  test("tries out GET /health by a click, and gets 200", async () => {
    const gateway = await startGateway();
    const { page, hosts, complaints } = await open(gateway.url);
    const { status, text } = await tryOut(page, "Health-getHealth");
    expect(status).toMatch(/^200/);
    expect(text).toContain('"status": "ok"');
    expect([...hosts]).toEqual([new URL(gateway.url).host]);
    expect(complaints).toEqual([]);
    await page.close();
  });

  test("tries out what is forwarded, with the path as it was typed in", async () => {
    const gateway = await startGateway();
    const { page } = await open(gateway.url);
    const { status, text } = await tryOut(page, "Proxy-proxy_get", { service: "echo", path: "a/b%2Fc?d=e/f" });
    expect(status).toMatch(/^200/);
    expect(text).toContain('"url": "/a/b%2Fc?d=e/f"');
    await page.close();
  });

  test("sends the key that was typed in, and forgets it with the page", async () => {
    const gateway = await startGateway({ env: KEYS });
    const { page, complaints } = await open(gateway.url);
    await page.locator(".auth-wrapper .authorize").first().click();
    const dialog = page.locator(".auth-container", { hasText: "managementKeyHeader" });
    await dialog.locator("input").fill(MANAGEMENT_KEY);
    await dialog.getByRole("button", { name: "Apply credentials" }).click();
    await dialog.locator(".btn-done").click();
    const { status, text } = await tryOut(page, "Management-debugKeys");
    expect(status).toMatch(/^200/);
    expect(text).toContain('"matches": "management"');
    await page.reload();
    expect(await page.context().storageState()).toEqual({ cookies: [], origins: [] });
    // Open already: the address names it.
    expect((await execute(page, "Management-debugKeys")).status).toMatch(/^401/);
    expect(complaints.filter((complaint) => !complaint.includes("401"))).toEqual([]);
    await page.close();
  });
});

test("the page and its files say what they are, who may frame them and what may run on them", async () => {
  const gateway = await startGateway();
  for (const [path, type, caching] of [
    ["/docs", "text/html; charset=utf-8", "no-cache"],
    ["/docs/start.js", "text/javascript; charset=utf-8", "max-age=86400"],
    ["/docs/swagger-ui.css", "text/css; charset=utf-8", "max-age=86400"],
    ["/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8", "max-age=86400"],
  ] as const) {
    const { status, headers } = await fetch(gateway.url + path);
    expect([status, headers.get("content-type"), headers.get("cache-control")], path).toEqual([200, type, caching]);
    expect(headers.get("content-security-policy"), path).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    expect([headers.get("x-content-type-options"), headers.get("referrer-policy")]).toEqual(["nosniff", "no-referrer"]);
  }
  for (const path of [
    "/docs/package.json",
    "/docs/..%2fpackage.json",
    "/docs/constructor",
    "/docs/swagger-ui.css.map",
  ]) {
    expect((await fetch(gateway.url + path)).status, path).toBe(404);
  }
});
