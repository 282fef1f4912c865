"""Packaging of authapp. Tool settings live in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build import build

here = Path(__file__).parent
version: dict[str, str] = {}
exec((here / "authapp/version.py").read_text(encoding="utf-8"), version)  # noqa: S102


class Build(build):
    """Removes the files of an earlier build first. setuptools would put them into the wheel."""

    def run(self) -> None:
        """Build the package in an empty directory."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(
    name="authapp",
    version=version["__version__"],
    description="Signed-in sessions for Pyramid on top of a backend that issues its own JWTs",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Framework :: Pyramid",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP :: Session",
        "Typing :: Typed",
    ],
    keywords="pyramid authentication session jwt jwe refresh token",
    cmdclass={"build": Build},
    packages=find_packages(include=["authapp", "authapp.*"]),
    include_package_data=True,
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "pyramid>=2.1",
        # Pyramid 2.1 imports pkg_resources from setuptools. setuptools 80.9 and later warn of this
        # import at every start, before any code of ours runs. setuptools 82 has no pkg_resources.
        # Versions before 78.1.1 have CVE-2025-47273.
        "setuptools>=78.1.1,<80.9",
        "pyramid_jinja2>=2.10",
        "waitress>=3.0",
        "PyJWT>=2.10",
        "requests>=2.32.2",
        "urllib3>=2.2",
        "joserfc>=1.6",
        "cryptography>=45",
        "limits>=4.0",
        "jmespath>=1.0",
        "plaster_pastedeploy>=1.0",
        "ua-parser>=1.0",
    ],
    extras_require={
        "redis": ["redis[hiredis]>=5.0"],
        "development": [
            "pyramid_debugtoolbar>=4.12.1",
        ],
        "cli": ["click>=8.4"],
        "opentelemetry": ["opentelemetry-api>=1.30"],
        "docs": ["sphinx>=8.1", "myst-parser>=4.0", "furo>=2024.8"],
        "testing": [
            "WebTest>=3.0.7",
            "pyramid_tm>=2.5",
            "pyramid_retry>=2.1",
            "pytest>=9.0",
            "pytest-cov>=7.0",
            "pytest-xdist>=3.8",
            "hypothesis>=6.160",
            "time-machine>=3.0",
            "Babel>=2.18",
            "Django>=5.2",
            "djangorestframework>=3.16",
            "djangorestframework-simplejwt>=5.5",
            "build>=1.2",
            "mypy>=2.4",
            "ruff>=0.17",
            "playwright>=1.60",
            # There are wheels of it for these alone.
            "atheris>=3.0; sys_platform == 'linux' and platform_machine == 'x86_64'"
            " and python_version in '3.11 3.13'",
            "types-requests",
            "PyYAML>=6.0",
            "opentelemetry-sdk>=1.45.2",
            "opentelemetry-exporter-prometheus>=0.66b2",
        ],
        # The packages whose presets are tested, and what serves them.
        "presets": [
            "djoser>=2.3.5",
            "dj-rest-auth>=7.2",
            "django-ninja-jwt>=5.4.5",
            "Flask-JWT-Extended>=4.7",
            "fastapi-users[sqlalchemy]>=15.0.5",
            "fastapi>=0.120",
            "uvicorn>=0.30",
            "aiosqlite>=0.20",
            "django-oauth-toolkit>=3.0.1",
            "django-allauth[headless,mfa]>=65.19.3",
        ],
    },
    entry_points={
        "paste.app_factory": [
            "main = authapp:main",
            "issuer = authapp.issuer:main",
        ],
        "paste.server_runner": ["server = authapp.server:serve"],
        "console_scripts": ["authapp = authapp.__main__:main"],
        "pytest11": ["authapp = authapp.testing.plugin"],
    },
)
