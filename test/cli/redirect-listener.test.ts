/** The listener at the end of a login. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { expect, test } from "vitest";
import { openRedirectListener } from "../../src/cli/redirect-listener.ts";

test.each(["127.0.0.1", "localhost"])(
  "On %s the first redirect with the state counts, and it waits for its page",
  async (host) => {
    const listener = await openRedirectListener(new URL(`http://${host}/callback`));
    expect(listener.redirectUri).toMatch(new RegExp(`^http://${host}:\\d+/callback$`));
    const early = await fetch(`${listener.redirectUri}?state=the-state&code=a`);
    expect(early.status).toBe(400);
    const received = listener.received("the-state");
    const first = fetch(`${listener.redirectUri}?state=the-state&code=first`);
    expect((await received).get("code")).toBe("first");
    for (const [query, status] of [
      ["?state=the-state&code=second", 409],
      ["?state=the-state&state=the-state", 400],
      ["?state=the-statf", 400],
      ["", 400],
    ] as const) {
      expect([query, (await fetch(`${listener.redirectUri}${query}`)).status]).toEqual([query, status]);
    }
    listener.show("<b>", 'a & b "c"', true);
    const page = await first;
    expect(page.status).toBe(400);
    expect(await page.text()).toContain('<h1>&lt;b&gt;</h1><p role="alert">a &amp; b &quot;c&quot;</p>');
    await listener.close();
    await expect(fetch(listener.redirectUri)).rejects.toThrow();
  },
);

test("A port that is in use is an error with the address", async () => {
  const listener = await openRedirectListener(new URL("http://127.0.0.1/callback"));
  await expect(openRedirectListener(new URL(listener.redirectUri))).rejects.toThrow(
    /^The login cannot listen on 127\.0\.0\.1:\d+: EADDRINUSE\.$/,
  );
  await listener.close();
});

const hasIpv6 = Object.values(networkInterfaces()).some((each) => each?.some(({ address }) => address === "::1"));

test.skipIf(!hasIpv6)("A process that listens on the IPv6 side of localhost does not get the redirect", async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "::1", resolve));
  const { port } = other.address() as AddressInfo;
  const wanted = new URL(`http://localhost:${port}/callback`);
  await expect(openRedirectListener(wanted)).rejects.toThrow(
    `The login cannot listen on localhost:${port}: EADDRINUSE.`,
  );
  await new Promise((done) => other.close(done));
  // Nothing of the failed one is left on 127.0.0.1.
  await (await openRedirectListener(wanted)).close();
});
