/* Is there a PostgreSQL server behind DATABASE_URL? Asked in the background, so that no request ever waits for the answer. */
#ifndef DATABASE_H
#define DATABASE_H

/* Starts the checks and waits for the first answer, a second at most. NULL or "" means that no database is configured. */
void database_watch(const char *url);

/* "reachable", "unreachable" or "not configured"; no older than about two seconds. */
const char *database_state(void);

#endif
