/** What a start says of who can reach it. */
import { expect, test } from "vitest";
import { startLines } from "../../src/cli/describe-start.ts";
import { load } from "../config/temp-folder.ts";

const KEY = { MANAGEMENT_API_KEY: "a-management-key-0123456789", MANAGEMENT_PORT: "3421" };

const containerLine = async (env: Record<string, string>) => {
  const config = await load({}, env);
  const lines = startLines({ config, services: [], url: "http://127.0.0.1:3420", isInContainer: true });
  return lines.find((line) => line.includes("This is a container"));
};

test("on loopback inside a container nothing outside reaches it, but for a second listener that is elsewhere", async () => {
  expect(await containerLine({})).toContain("nothing outside of it reaches the gateway;");
  expect(await containerLine({ ...KEY, MANAGEMENT_HOST: "127.0.0.1" })).toContain("reaches the gateway;");
  expect(await containerLine({ ...KEY, MANAGEMENT_HOST: "0.0.0.0" })).toContain(
    "nothing outside of it reaches /proxy;",
  );
});
