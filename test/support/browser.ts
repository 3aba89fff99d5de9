/** A real browser for tests: Debian's chromium, without a window. */
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

/** For `describe.skipIf`; says so loudly. */
export const hasBrowser = executablePath !== undefined;
if (!hasBrowser) console.warn("SKIPPED: the tests in a browser; install Debian's package chromium to run them");

/** Without the calls home that a browser makes by itself: nothing leaves this machine. */
export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: executablePath as string,
    args: [
      ...["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"],
      // Every name but loopback resolves to nothing.
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    ],
  });
}

/** A page of an origin of its own. */
export async function startPage(html = "<!doctype html><title>a page</title>"): Promise<string> {
  const server = createServer((_, res) => res.setHeader("content-type", "text/html").end(html));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
