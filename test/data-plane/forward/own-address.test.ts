/** URLs that lead to the gateway itself, by name and by the address of a listener. */
import { expect, test } from "vitest";
import { ServiceAddresses } from "../../../src/config/service-addresses.ts";
import { createOwnAddress } from "../../../src/data-plane/forward/own-address.ts";

const services = ServiceAddresses.of([{ key: "a", hosts: ["a.test", "b.test:8443"] }]);

const place = (url: string, hosts: string[], ...listeners: [address: string, port: number, service?: string][]) =>
  createOwnAddress({
    hosts,
    services,
    listeners: () => listeners.map(([address, port, service]) => ({ address, port, service })),
  })(new URL(url));

const isOwn = (...args: Parameters<typeof place>) => place(...args) !== undefined;

test.each([
  ["https://gw.test/", ["gw.test:80"]],
  ["http://gw.test/", ["gw.test:443"]],
  ["https://gw.test:80/", ["gw.test"]],
  ["http://GW.test.:8080/", ["gw.test:8080"]],
])("The URL %s has one of the names %j, whatever its scheme and spelling", (url, hosts) => {
  expect(isOwn(url, hosts)).toBe(true);
  expect(createOwnAddress({ hosts, services, listeners: undefined })(new URL(url))).toEqual({ service: undefined });
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

test.each(["http://a.test/", "https://A.TEST.:9/x", "http://a%2etest/", "http://\uff41.test/", "https://b.test:8443/"])(
  "The URL %s leads to the service that has the host, whatever its spelling",
  (url) => {
    expect(place(url, ["a.test", "b.test:8443"], ["127.0.0.1", 3420])).toEqual({ service: "a" });
  },
);

test("A URL of a service's own port leads to that service, and one with another port to none", () => {
  const at = (url: string) => place(url, [], ["127.0.0.1", 3420], ["127.0.0.1", 4001, "c"], ["::1", 4001, "c"]);
  for (const host of ["localhost", "127.1", "0x7f000001", "[::ffff:7f00:1]", "[::1]", "x.localhost", "0.0.0.0"]) {
    expect(at(`http://${host}:4001/`), host).toEqual({ service: "c" });
    expect(at(`http://${host}:4002/`), host).toBe(undefined);
  }
  expect(at("http://localhost:3420/")).toEqual({ service: undefined });
  expect(at("http://b.test/")).toBe(undefined);
});
