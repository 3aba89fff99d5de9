/** `/docs` in a real browser: the page loads from the gateway only, obeys its policy, and can send requests. */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

/** A page, the hosts that it contacts and the errors that it reports. */
interface WatchedPage {
  readonly page: Page;
  readonly hosts: Set<string>;
  readonly complaints: string[];
}

// A page of this size loads slowly on two cores.
describe.skipIf(!hasBrowser)("the documentation page", { timeout: 120_000 }, () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await openBrowser();
  });
  afterAll(() => browser?.close());

  async function open(url: string): Promise<WatchedPage> {
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

  /** Opens an operation and clicks on Execute. Returns the displayed response. */
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

  // One page for all of this, because loading it is most of the work.
  test("The page shows every operation, sends requests as the user typed them, contacts no other host and obeys its policy", async () => {
    const gateway = await startGateway();
    const { page, hosts, complaints } = await open(gateway.url);
    const document = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as { paths: Record<string, object> };
    const count = Object.values(document.paths).flatMap((methods) => Object.keys(methods)).length;
    expect(await page.locator(".opblock").count()).toBe(count);
    // The largest operations: bodies with editors, schemas, examples of many codes.
    for (const operation of ["Services-createService", "Services-patchService", "Status-getStatus"]) {
      const block = page.locator(`#operations-${operation}`);
      await block.locator(".opblock-summary-control").click();
      await block.locator(".responses-table .response").last().waitFor();
    }
    const health = await tryOut(page, "Health-getHealth");
    expect(health.status).toMatch(/^200/);
    expect(health.text).toContain('"status": "ok"');
    const proxied = await tryOut(page, "Proxy-proxy_put", { service: "echo", path: "a/b%2Fc?d=e/f" });
    expect(proxied.status).toMatch(/^200/);
    expect(proxied.text).toContain('"url": "/a/b%2Fc?d=e/f"');
    expect([...hosts]).toEqual([new URL(gateway.url).host]);
    expect(complaints).toEqual([]);
    await page.close();
  });

  test("The page sends the key that the user typed in, and does not store it", async () => {
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
    // Already open, because the URL names it.
    expect((await execute(page, "Management-debugKeys")).status).toMatch(/^401/);
    expect(complaints.filter((complaint) => !complaint.includes("401"))).toEqual([]);
    await page.close();
  });
});

test("The page and its files have the headers for type, framing and content policy", async () => {
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
