/** Waits until a condition is true; tests never sleep for a fixed time. */
export async function eventually<T>(
  read: () => T | undefined | false | null | Promise<T | undefined | false | null>,
  what = "the condition",
  withinMs = 3_000,
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const value = await read();
    if (value !== undefined && value !== false && value !== null) return value as T;
    if (performance.now() > deadline) throw new Error(`${what} was not true within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
