/** URLs that lead to the gateway itself, by name and by the address of a listener. */
import { expect, test } from "vitest";
import { createOwnAddress } from "../../../src/data-plane/forward/own-address.ts";

const isOwn = (url: string, hosts: string[], ...listeners: [address: string, port: number][]) =>
  createOwnAddress(hosts, () => listeners.map(([address, port]) => ({ address, port })))(new URL(url));

test.each([
  ["https://gw.test/", ["gw.test:80"]],
  ["http://gw.test/", ["gw.test:443"]],
  ["https://gw.test:80/", ["gw.test"]],
  ["http://GW.test.:8080/", ["gw.test:8080"]],
])("The URL %s has one of the names %j, whatever its scheme and spelling", (url, hosts) => {
  expect(isOwn(url, hosts)).toBe(true);
  expect(createOwnAddress(hosts, undefined)(new URL(url))).toBe(true);
});

test.each<[string, string, number]>([
  ["http://localhost:3420/", "127.0.0.1", 3420],
  ["http://localhost:3420/", "::1", 3420],
  ["http://127.0.0.1:3420/", "::ffff:127.0.0.1", 3420],
  ["https://127.0.0.1/", "127.0.0.1", 443],
  ["http://127.0.0.1/", "127.0.0.1", 80],
  ["http://127.0.0.7:3420/", "0.0.0.0", 3420],
  ["http://[::1]:3420/", "::", 3420],
  ["http://0.0.0.0:3420/", "127.0.0.1", 3420],
])("The URL %s leads to a listener at %s, port %i", (url, address, port) => {
  expect(isOwn(url, [], [address, port])).toBe(true);
});

test.each<[string, string, number]>([
  ["http://localhost:3420/", "192.0.2.1", 3420],
  ["https://127.0.0.1/", "127.0.0.1", 80],
  ["http://127.0.0.2:3420/", "127.0.0.1", 3420],
  ["http://192.0.2.9:3420/", "0.0.0.0", 3420],
  ["http://example.test:3420/", "127.0.0.1", 3420],
])("The URL %s does not lead to a listener at %s, port %i", (url, address, port) => {
  expect(isOwn(url, ["gw.test:3420"], [address, port])).toBe(false);
});
