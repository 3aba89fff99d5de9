import { describe, expect, test } from "vitest";
import { compileAddresses, parseAddressRange } from "../../src/callers/allowed-addresses.ts";

describe("addresses of a key", () => {
  test.each<[string[], string[], string[]]>([
    [[], ["1.2.3.4", "::1", "nonsense"], []],
    [
      ["10.0.0.0/8"],
      ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
      ["11.0.0.0", "9.255.255.255", "::1", "::10.0.0.1"],
    ],
    [["10.1.2.3/8"], ["10.9.9.9"], ["11.0.0.0"]],
    [["192.0.2.1"], ["192.0.2.1"], ["192.0.2.2"]],
    [["192.0.2.1/32", "192.0.2.8/30"], ["192.0.2.1", "192.0.2.11"], ["192.0.2.12"]],
    [["0.0.0.0/0"], ["1.2.3.4", "::ffff:1.2.3.4"], ["::1"]],
    [["::/0"], ["::1", "2001:db8::1"], ["1.2.3.4"]],
    [["2001:db8::/32"], ["2001:db8:ffff::1", "2001:DB8:0::1"], ["2001:db9::1", "32.1.13.184"]],
    [["::ffff:10.0.0.0/104"], ["10.9.9.9", "::ffff:a01:203"], ["11.0.0.0"]],
    [["::ffff:192.0.2.1"], ["192.0.2.1"], ["192.0.2.2", "::1"]],
    [["fe80::/10"], ["fe80::1", "fe80::1%eth0"], ["::1"]],
    [["from the future"], [], ["1.2.3.4", "::1"]],
    [["from the future", "::1"], ["::1"], ["1.2.3.4"]],
    [["0.0.0.0/0", "::/0"], [], ["", "nonsense", "1.2.3", "1.2.3.4.5", "0x7f.1", "01.2.3.4", "1.2.3.4/8"]],
  ])("The list %j allows %j and not %j", (texts, allowed, refused) => {
    const allows = compileAddresses(texts);
    expect(allowed.filter((address) => !allows(address))).toEqual([]);
    expect(refused.filter((address) => allows(address))).toEqual([]);
  });

  test.each([
    "",
    "x",
    "10",
    "10.1",
    "0x0a.0.0.1",
    "010.0.0.1",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/08",
    "10.0.0.0/-1",
  ])("The text %j is not an address range", (text) => {
    expect(parseAddressRange(text)).toEqual({
      problem: `${JSON.stringify(text)} is neither an address nor a CIDR such as \`10.0.0.0/8\``,
    });
  });

  test.each([
    "::/129",
    "fe80::1%eth0",
    "[::1]",
    "::1/64/64",
    "10.0.0.0/255.0.0.0",
    "localhost",
    " 10.0.0.1",
    "x".repeat(99),
  ])("The text %s is not an address range", (text) => {
    expect(parseAddressRange(text)).toHaveProperty("problem");
  });
});
