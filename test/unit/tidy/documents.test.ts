import { describe, expect, test } from 'vitest'
import { documents, untrueStatements } from './documents.ts'

test('documents name only what exists', () => {
  const found = documents()
  expect([...found.keys()]).toContain('CHANGELOG.md')
  expect([...found].flatMap(([document, text]) => untrueStatements(document, text))).toEqual([])
})

describe('the check itself', () => {
  test.each([
    ['README.md', 'see `src/gone.ts`', 'README.md: src/gone.ts'],
    ['README.md', 'see `src/gone.ts:12`', 'README.md: src/gone.ts'],
    ['docs/A.md', 'see [this](GONE.md#part)', 'docs/A.md: GONE.md'],
    ['README.md', '```\nnpm run gone\n```', 'README.md: npm run gone'],
  ])('in %s refuses: %s', (document, text, untrue) => {
    expect(untrueStatements(document, text)).toEqual([untrue])
  })

  test.each([
    ['README.md', 'see `src/linux/errors.ts:3`, `src/linux/`, `src/*.ts`, `src/<layer>`, `/src/gone`, `and/or`'],
    ['README.md', '```\ncp src/gone.ts\n```'],
    ['docs/A.md', 'see [this](../CHANGELOG.md#1), [that](https://example.org) and `npm run build`'],
  ])('in %s accepts: %s', (document, text) => {
    expect(untrueStatements(document, text)).toEqual([])
  })
})
