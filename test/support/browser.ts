/** A real browser for tests: Debian's chromium, headless. */
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Browser, chromium } from "playwright-core";
import { onTestFinished } from "vitest";

function findChromium(): string | undefined {
  try {
    return execFileSync("which", ["chromium"], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}

const executablePath = findChromium();

/** For `describe.skipIf`. A warning reports a missing browser. */
export const hasBrowser = executablePath !== undefined;
if (!hasBrowser) console.warn("SKIPPED: the browser tests. Install Debian's package chromium to run them.");

/** Opens a browser that makes no requests of its own: nothing leaves this machine. */
export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: executablePath as string,
    args: [
      ...["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"],
      // Only loopback names resolve, and a name that is none to a browser: to it a browser sends no Sec-Fetch-*.
      "--host-resolver-rules=MAP gateway.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    ],
  });
}

/** Serves a page from a new origin and returns that origin. */
export async function startPage(html = "<!doctype html><title>a page</title>"): Promise<string> {
  const server = createServer((_, res) => res.setHeader("content-type", "text/html").end(html));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
