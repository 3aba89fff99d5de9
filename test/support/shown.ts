/** Everything that a gateway shows to operators, as one text: a search in it finds what must not be there. */
import { MANAGEMENT_KEY, type TestGateway } from "./gateway.ts";

const ROUTES = [
  ...["/status", "/metrics", "/manage/services", "/manage/diagnostics", "/manage/audit"],
  ...["/manage/quota", "/manage/requests", "/manage/keys"],
];

/** @param keys of the services that the dry run is asked about. The gateway has `MANAGEMENT_KEY`. */
export async function everythingShown(gateway: TestGateway, keys: readonly string[]): Promise<string> {
  const headers = { authorization: `Bearer ${MANAGEMENT_KEY}`, "content-type": "application/json" };
  const texts = [gateway.logText()];
  for (const route of ROUTES) {
    const response = await fetch(gateway.url + route, { headers });
    if (!response.ok) throw new Error(`${route} responded with ${response.status}`);
    texts.push(await response.text());
  }
  for (const key of keys) {
    const body = JSON.stringify({ method: "GET", path: `/proxy/${key}/x` });
    texts.push(await (await fetch(`${gateway.url}/manage/explain`, { method: "POST", headers, body })).text());
  }
  return texts.join("\n");
}
