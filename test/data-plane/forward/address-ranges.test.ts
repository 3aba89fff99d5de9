/** Which addresses may be dialed, in every spelling that a parser accepts. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { forbiddenBecause } from "../../../src/data-plane/forward/address-ranges.ts";

describe("address that is always forbidden", () => {
  test.each([
    "169.254.169.254",
    "169.254.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "::a9fe:a9fe",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2606:4700::5efe:169.254.169.254",
    "2606:4700::200:5efe:a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "fe80::1",
    "FE80::1%eth0",
    "fd00:ec2::254",
    "fd00:ec2::254%eth0",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:42::42",
    "FD00:0EC2::0254",
    "100.100.100.200",
    "::ffff:100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "no address",
    "",
  ])("The address '%s' is never dialed, with any setting", (address) => {
    expect(forbiddenBecause(address, true)).toBeDefined();
    expect(forbiddenBecause(address, false)).toBeDefined();
  });
});

describe("private address", () => {
  test.each([
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "::127.0.0.1",
    "::7f00:1",
    "::ffff:0:7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::ffff:192.168.1.1",
    "2002:c0a8:101::1",
    "100.64.0.1",
    "100.127.255.255",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "255.255.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "ff02::1",
    "240.0.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "2001:db8::1",
    "100::1",
    "::5efe:127.0.0.1",
    "2606:4700::5efe:10.0.0.1",
    "1::",
    "200::1",
    "4000::1",
    "e000::1",
    "64:ff9b:1::808:808",
    "2002:808:808::1",
    "2001:0:808:808::1",
    "64:ff9b::808:808",
  ])("The address %s is dialed only if private addresses are allowed", (address) => {
    expect(forbiddenBecause(address, true)).toBeUndefined();
    expect(forbiddenBecause(address, false)).toBeDefined();
  });
});

describe("public address", () => {
  test.each(["8.8.8.8", "1.1.1.1", "140.82.112.3", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8"])(
    "The public address %s is dialed",
    (address) => {
      expect(forbiddenBecause(address, false)).toBeUndefined();
    },
  );

  test("An IPv4 address inside an IPv6 address gets the same verdict as by itself", () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.boolean(), (address, allowsPrivate) => {
        const alone = forbiddenBecause(address, allowsPrivate) === undefined;
        expect(forbiddenBecause(`::ffff:${address}`, allowsPrivate) === undefined).toBe(alone);
        const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
        const hex = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
        expect(forbiddenBecause(`::ffff:${hex}`, allowsPrivate) === undefined).toBe(alone);
        // If the IPv4 address is forbidden, its NAT64 form is too.
        if (!alone) expect(forbiddenBecause(`64:ff9b::${hex}`, allowsPrivate)).toBeDefined();
      }),
    );
  });
});
