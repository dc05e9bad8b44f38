/**
 * Which files are looked at: globs against the path from the argument, `/` between components.
 *
 *     *          any characters of a name, also a dot at its beginning
 *     ?          one character of a name
 *     [a-z] [!a] one of these characters, one of all others; [[:digit:]] and its like
 *     **         as a whole component: any number of directories; at the end: the directory before it, and all below
 *     {a,b}      the same as two globs, one with a and one with b
 *     \x         x, whatever x means otherwise
 *
 * Everything else stands for itself, as in find(1) and in a shell without `extglob`: parentheses, `|`, quotes, a brace or bracket
 * that is not closed. What a glob excludes must not depend on what else a matcher knows: `dedupe --apply` believes it. Hence no library: picomatch 4 takes bare
 * parentheses for those of a regular expression and drops quotes, minimatch 10 throws at a class beside a hyphen or a line break.
 */
import { UserError } from '../util/user-error.ts'
import type { Entry } from './walk.ts'

export interface Globs {
  /** Files to look at; all if there is none. */
  include: readonly string[]
  /** Files and directories to leave out, with everything below. */
  exclude: readonly string[]
}

/** Longer than any path that a system call takes. */
const CHARACTERS_MAX = 4096
/** Of all globs that one with braces stands for. */
const EXPANDED_CHARACTERS_MAX = 2 ** 16

/** Decides about an entry of the walk. A pattern without a slash (but for one at its
 * end) goes by the name alone, at whatever depth; a slash at its beginning ties it to the top. */
export function globFilter({ include, exclude }: Globs): (entry: Entry, isDirectory: boolean) => boolean {
  if (include.length === 0 && exclude.length === 0) return () => true
  const isIncluded = include.length === 0 ? () => true : matcher(include)
  const isExcluded = exclude.length === 0 ? () => false : matcher(exclude)
  return (entry, isDirectory) => {
    const path = entry.relativePath()
    return !isExcluded(path) && (isDirectory || isIncluded(path))
  }
}

function matcher(globs: readonly string[]): (path: string) => boolean {
  const expressions = globs.flatMap(parseGlob)
  return (path) => expressions.some((expression) => expression.test(path))
}

/** Regular expressions for relative paths, one of which matches where the glob does. Throws a {@link UserError} where it can match nothing, or is too long. */
export function parseGlob(glob: string): RegExp[] {
  if (glob.length > CHARACTERS_MAX) throw new UserError(`A glob has at most ${CHARACTERS_MAX} characters.`)
  return expandBraces(glob, { characters: EXPANDED_CHARACTERS_MAX }).map((plain) => {
    const below = plain.replace(/^\.?\/+|\/+$/g, '')
    if (below === '') throw new UserError('It names nothing below PATH.')
    const isAnchored = below.includes('/') || plain.startsWith('/')
    // s: names may have line breaks in them. u: a character is a character, also beyond U+FFFF.
    return new RegExp(`^${isAnchored ? '' : ANY_DIRECTORIES}${translate(below)}$`, 'su')
  })
}

/** The globs without alternatives that `glob` stands for, in order. */
function expandBraces(glob: string, budget: { characters: number }): string[] {
  for (let i = 0; i < glob.length; i++) {
    if (glob[i] === '\\') i++
    else if (glob[i] === '{') {
      const group = braceGroup(glob, i)
      if (group === undefined) continue
      const ends = expandBraces(glob.slice(group.end), budget)
      const all: string[] = []
      for (const middle of group.alternatives.flatMap((alternative) => expandBraces(alternative, budget)))
        for (const end of ends) {
          const expanded = glob.slice(0, i) + middle + end
          budget.characters -= expanded.length + 1
          if (budget.characters < 0) throw new UserError('It stands for too many globs: use fewer braces.')
          all.push(expanded)
        }
      return all
    }
  }
  return [glob]
}

/** What stands between the commas of the braces that open at `start`, and where they end; undefined where they are not closed, or have no comma. */
function braceGroup(glob: string, start: number): { alternatives: string[]; end: number } | undefined {
  const alternatives: string[] = []
  let depth = 0
  let from = start + 1
  for (let i = start; i < glob.length; i++) {
    const character = glob[i]
    if (character === '\\') i++
    else if (character === '{') depth++
    else if (character === ',' && depth === 1) {
      alternatives.push(glob.slice(from, i))
      from = i + 1
    } else if (character === '}' && --depth === 0) {
      if (alternatives.length === 0) return undefined
      return { alternatives: [...alternatives, glob.slice(from, i)], end: i + 1 }
    }
  }
  return undefined
}

/** A part of a glob, and the source of a regular expression that matches what it does. */
type Token = [glob: string, source: string]

const ANY_DIRECTORIES = '(?:[^/]+/)*'

/** The source of a regular expression for a glob without alternatives. */
function translate(glob: string): string {
  let source = ''
  let isAtStart = true
  for (let i = 0; i < glob.length; ) {
    const rest = glob.slice(i)
    const next: Token = (isAtStart ? directories(rest) : undefined) ?? wildcard(rest)
    const [token, meaning] = next
    // `/**` at the end: the directory itself, too.
    if (meaning === ALL_BELOW && source.endsWith('/')) source = `${source.slice(0, -1)}(?:/.*)?`
    else source += meaning
    isAtStart = token.endsWith('/')
    i += token.length
  }
  return source
}

const ALL_BELOW = '.*'

/** What a component that begins here means if it is `**`. */
function directories(rest: string): Token | undefined {
  const token = /^\*\*(?:\/+|$)/.exec(rest)?.[0]
  if (token === undefined) return undefined
  return [token, token.endsWith('/') ? ANY_DIRECTORIES : ALL_BELOW]
}

/** What the glob's next character or bracket means. */
function wildcard(rest: string): Token {
  const stars = /^\*+/.exec(rest)?.[0]
  if (stars !== undefined) return [stars, '[^/]*']
  const slashes = /^\/+/.exec(rest)?.[0]
  if (slashes !== undefined) return [slashes, '/']
  if (rest.startsWith('?')) return ['?', '[^/]']
  const [bracket, negation, members] = BRACKET.exec(rest) ?? []
  if (bracket !== undefined) return [bracket, characterClass(members!, negation !== undefined)]
  // A backslash at the very end is one.
  const [character] = /^\\?./su.exec(rest)!
  return [character, literal(unescaped(character))]
}

/** A member of a bracket: a class, an escaped character, or a character. The first one may be a closing bracket. */
const MEMBER = /\[:[a-z]+:\]|\\[^/]|[^\]/\\]/
const BRACKET = new RegExp(`^\\[(?:([!^])|(?![!^]))((?:${MEMBER.source}|\\])(?:${MEMBER.source})*)\\]`, 'su')
const RANGE = /^(\\.|[^\\])-(\\.|[^\\])/su

const CLASSES: Record<string, string> = {
  alnum: '\\p{L}\\p{N}',
  alpha: '\\p{L}',
  blank: ' \\t',
  cntrl: '\\p{Cc}',
  digit: '0-9',
  graph: '\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}',
  lower: '\\p{Ll}',
  print: '\\p{L}\\p{M}\\p{N}\\p{P}\\p{S} ',
  punct: '\\p{P}\\p{S}',
  space: '\\s',
  upper: '\\p{Lu}',
  xdigit: '0-9A-Fa-f',
}

function characterClass(members: string, isNegated: boolean): string {
  let source = ''
  for (let rest = members; rest !== ''; ) {
    const [named, name = ''] = /^\[:([a-z]+):\]/.exec(rest) ?? []
    const [range, first = '', last = ''] = RANGE.exec(rest) ?? []
    const [member = ''] = /^\\?./su.exec(rest) ?? []
    if (named !== undefined) {
      if (CLASSES[name] === undefined) throw new UserError(`There is no class of characters ${named}.`)
      source += CLASSES[name]
    } else if (range !== undefined) {
      const [from, to] = [unescaped(first), unescaped(last)]
      // One that ends before it begins has no characters.
      if (from.codePointAt(0)! <= to.codePointAt(0)!) source += `${literal(from)}-${literal(to)}`
    } else source += literal(unescaped(member))
    rest = rest.slice((named ?? range ?? member).length)
  }
  return `(?!/)[${isNegated ? '^' : ''}${source}]`
}

const unescaped = (member: string): string => (member.length > 1 && member.startsWith('\\') ? member.slice(1) : member)

/** A character that means itself, also where it would mean something else in a regular expression. */
function literal(character: string): string {
  return /\w/.test(character) ? character : `\\u{${character.codePointAt(0)!.toString(16)}}`
}
