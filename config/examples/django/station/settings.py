"""Settings of the site. What differs between machines comes from the environment."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = False
# Both copies need the same key: a session that one has begun must be good in the other.
SECRET_KEY = os.environ.get("SECRET_KEY", "only-for-trying-it-out")
# The router's health checks name the copy itself as host, hence 127.0.0.1.
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1").split(",")
# The router in front replaces what visitors claim about TLS, so the header can be believed.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# What the data logger shows to be let in.
LOGGER_KEY = os.environ.get("LOGGER_KEY", "only-for-trying-it-out")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "readings",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",  # serves what `collectstatic` has gathered
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "station.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "readings.context.router",
            ]
        },
    }
]

# PostgreSQL if PGDATABASE names a database: host, user and password come from the PG… variables that psql and pg_dump
# read as well. Else a file beside the two copies, which share it.
if "PGDATABASE" in os.environ:
    DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}}
else:
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR.parent / "station.sqlite3"}}
DATABASES["default"]["ATOMIC_REQUESTS"] = True  # a request changes all that it should, or nothing
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Files get a fingerprint in their name (site.3f2a….css), so browsers may keep them for ever.
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}}

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
TIME_ZONE = "UTC"
